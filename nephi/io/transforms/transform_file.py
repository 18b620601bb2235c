"""Read a transform of another tool; suffix and contents give the format."""

from __future__ import annotations

from pathlib import Path

import torch

from nephi.errors import DataError
from nephi.io.fields.conventions import FieldConvention
from nephi.io.fields.displacement import read_displacement
from nephi.io.fields.nifti_field import read_nifti_field
from nephi.io.files.input_files import (
    ITK_SUFFIXES,
    NIFTI_SUFFIXES,
    PAIR_SUFFIXES,
    TRANSFORM_SUFFIXES,
    require_file,
    suffix_of,
)
from nephi.transforms import Transform

MATRIX_SUFFIXES = (".mat", ".txt")


@torch.inference_mode(False)
def read_foreign_transform(path: str | Path, convention: FieldConvention | None = None) -> Transform:
    """Read a transform of ITK, ANTs, elastix, SPM, NiftyReg, FSL, greedy or FreeSurfer (world mm, RAS).

    - `.nii`, `.nii.gz`, pairs of `.hdr` and `.img`, `.mha`, `.mhd`, `.nrrd`, `.nhdr`: displacement fields, as by
      `read_displacement`, and control points of NiftyReg as a `BSplineField`; a `convention` overrides the header.
    - `.tfm`, `.txt`, `.h5`, `.hdf5`, `.mat`, `.xfm`: linear transforms become an `AffineTransform`, displacement field
      transforms a `DisplacementField`, cubic B-splines a `BSplineField`, and composites of these a `Composite` with the
      same order (in ITK the last member is applied first). `.xfm` files are read if ITK wrote them (LPS); those of
      MINC are rejected.
    - `.txt`: also `TransformParameters` of elastix, with the initial transforms.
    - `.lta`: affine maps of FreeSurfer.
    - any other suffix: a matrix in text, if the `convention` names its tool (`read_matrix_text`).

    Raises `DataError` naming the file when it is missing, damaged, incomplete, of unknown format, singular, or of a
    kind that nephi does not support (velocity fields, thin-plate splines, ...).
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix in NIFTI_SUFFIXES + PAIR_SUFFIXES:
        return read_nifti_field(path, convention)
    if suffix in ITK_SUFFIXES:
        return read_displacement(path, convention)
    return _read_other(path, suffix, convention)


def _read_other(path: Path, suffix: str, convention: FieldConvention | None) -> Transform:
    """Read a transform of a format that is no image."""
    # Here, because a registration reads none of these formats, and twelve modules belong to them.
    from nephi.io.transforms.affine_text import MATRIX_CONVENTIONS, is_matrix_text, read_matrix_text
    from nephi.io.transforms.elastix import read_elastix
    from nephi.io.transforms.elastix_file import is_elastix
    from nephi.io.transforms.itk_transform import read_itk_transform
    from nephi.io.transforms.lta import read_lta

    if suffix == ".lta":
        return read_lta(path)
    if convention is not None and convention.name in MATRIX_CONVENTIONS and is_matrix_text(path):
        return read_matrix_text(path, convention)
    if suffix not in TRANSFORM_SUFFIXES:
        known = ", ".join((".nephi", *NIFTI_SUFFIXES, *ITK_SUFFIXES, *TRANSFORM_SUFFIXES, ".lta"))
        folder = "a folder; give the file in it (transform.nephi of a result)" if path.is_dir() else ""
        raise DataError(f"{path}: expected a transform ({known}), found {folder or suffix or 'no suffix'}")
    if suffix == ".txt" and is_elastix(path):
        return read_elastix(path)
    if suffix in MATRIX_SUFFIXES and is_matrix_text(path):
        return read_matrix_text(path, convention)
    return read_itk_transform(require_file(path))
