"""Transforms that other tools wrote, and affine maps for them to read."""

from __future__ import annotations

from pathlib import Path

import torch

from nephi.errors import DataError, UsageError
from nephi.io.fields.conventions import FieldConvention
from nephi.io.fields.displacement import read_displacement
from nephi.io.fields.nifti_field import read_nifti_field
from nephi.io.files.atomic import replacing
from nephi.io.files.input_files import ITK_SUFFIXES, NIFTI_SUFFIXES, PAIR_SUFFIXES, require_file, suffix_of
from nephi.io.files.utf8_paths import writable_path
from nephi.io.itk import itk_writing, simpleitk
from nephi.io.transforms.affine_text import MATRIX_CONVENTIONS, is_matrix_text, read_matrix_text
from nephi.io.transforms.elastix import read_elastix
from nephi.io.transforms.elastix_file import is_elastix
from nephi.io.transforms.itk_affine import affine_for_itk
from nephi.io.transforms.itk_transform import HDF5_SUFFIXES, TEXT_SUFFIXES, TRANSFORM_SUFFIXES, read_itk_transform
from nephi.io.transforms.lta import read_lta
from nephi.transforms import AffineTransform, Transform

MATRIX_SUFFIXES = (".mat", ".txt")
AFFINE_SUFFIXES = (*TEXT_SUFFIXES, ".mat", *HDF5_SUFFIXES)


@torch.inference_mode(False)
def read_foreign_transform(path: str | Path, convention: FieldConvention | None = None) -> Transform:
    """Read a transform of ITK, ANTs, elastix, SPM, NiftyReg, FSL, greedy or FreeSurfer, as a map of points (mm, RAS).

    `.nii`, `.nii.gz`, pairs `.hdr` and `.img`, `.mha`, `.mhd`, `.nrrd`, `.nhdr`: displacement fields, as
    `read_displacement` reads them, and NiftyReg's control points as a `BSplineField`; a `convention` counts before the
    header.
    `.tfm`, `.txt`, `.h5`, `.hdf5`, `.mat`, `.xfm`: linear transforms of every kind become an `AffineTransform`,
    displacement field transforms a `DisplacementField`, cubic B-splines a `BSplineField`, chains of these a `Composite`
    of the same order of action (ITK's last acts first). An `.xfm` has to come from ITK, whose frame it then has;
    MINC's own are refused.
    `.txt` may also be elastix' `TransformParameters`, read with the transforms it starts from. `.lta`: FreeSurfer's
    affine maps. Any other suffix may be a matrix in text, of the tool that the `convention` names (`read_matrix_text`).

    Raises `DataError` naming the file when it is missing, damaged or incomplete, of unknown format, singular, or
    of a kind that nephi does not have (velocity fields, thin plates, ...).
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix in NIFTI_SUFFIXES + PAIR_SUFFIXES:
        return read_nifti_field(path, convention)
    if suffix in ITK_SUFFIXES:
        return read_displacement(path, convention)
    if suffix == ".lta":
        return read_lta(path)
    if convention is not None and convention.name in MATRIX_CONVENTIONS and is_matrix_text(path):
        return read_matrix_text(path, convention)
    if suffix not in TRANSFORM_SUFFIXES:
        known = ", ".join((".nephi", *NIFTI_SUFFIXES, *ITK_SUFFIXES, *TRANSFORM_SUFFIXES, ".lta"))
        folder = "a folder; give the file in it, transform.nephi of a result" if path.is_dir() else ""
        raise DataError(f"{path}: expected a transform ({known}), found {folder or suffix or 'no suffix'}")
    if suffix == ".txt" and is_elastix(path):
        return read_elastix(path)
    if suffix in MATRIX_SUFFIXES and is_matrix_text(path):
        return read_matrix_text(path, convention)
    return read_itk_transform(require_file(path))


def write_affine(path: str | Path, affine: AffineTransform) -> None:
    """Write an affine map as an ITK transform in LPS, centre 0: `.tfm`, `.txt`, `.mat` or `.h5` (ANTs, SimpleITK).

    Raises `UsageError` for another suffix, `DataError` when the file cannot be written.
    """
    sitk = simpleitk()
    path = Path(path)
    if suffix_of(path) not in AFFINE_SUFFIXES:
        found = suffix_of(path) or "without suffix"
        raise UsageError(f"{path}: affine transforms are written as {', '.join(AFFINE_SUFFIXES)}, not {found}")
    foreign = affine_for_itk(affine)
    with replacing(path) as temporary, writable_path(temporary) as utf8, itk_writing(path):
        sitk.WriteTransform(foreign, str(utf8))
