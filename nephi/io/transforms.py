"""Transforms that other tools wrote, and affine maps for them to read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from nephi.errors import DataError, UsageError
from nephi.io.atomic import replacing
from nephi.io.completeness import (
    require_complete_hdf5,
    require_complete_matlab,
    require_complete_text,
    require_itk_minc,
)
from nephi.io.conventions import FieldConvention
from nephi.io.displacement import field_of, read_displacement
from nephi.io.elastix import is_elastix, read_elastix
from nephi.io.foreign import ITK_SUFFIXES, NIFTI_SUFFIXES, naming, reading, reason_of, require_file, suffix_of
from nephi.io.frames import flip_points
from nephi.io.itk import grid_of, itk_warnings, shared_voxels, simpleitk
from nephi.io.itk_affine import affine_for_itk, affine_of
from nephi.io.nifti_field import read_nifti_field
from nephi.transforms import AffineTransform, BSplineField, Composite, Transform

TEXT_SUFFIXES = (".tfm", ".txt")
HDF5_SUFFIXES = (".h5", ".hdf5")
AFFINE_SUFFIXES = (*TEXT_SUFFIXES, ".mat", *HDF5_SUFFIXES)


def read_foreign_transform(path: str | Path, convention: FieldConvention | None = None) -> Transform:
    """Read a transform of ITK, SimpleITK, ANTs or elastix, as a map of world points (mm, RAS).

    `.nii`, `.nii.gz`, `.mha`, `.mhd`, `.nrrd`, `.nhdr`: displacement fields, as `read_displacement` reads them; a
    `convention` says what the vectors of a NIfTI file mean.
    `.tfm`, `.txt`, `.h5`, `.hdf5`, `.mat`, `.xfm`: linear transforms of every kind become an `AffineTransform`,
    displacement field transforms a `DisplacementField`, cubic B-splines a `BSplineField`, chains of these a `Composite`
    of the same order of action (ITK's last acts first). An `.xfm` has to come from ITK, whose frame it then has;
    MINC's own are refused.
    `.txt` may also be elastix' `TransformParameters`, read with the transforms it starts from.

    Raises `DataError` naming the file when it is missing, damaged or incomplete, of unknown format, singular, or
    of a kind that nephi does not have (velocity fields, thin plates, ...).
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix in NIFTI_SUFFIXES:
        return read_nifti_field(path, convention)
    if suffix in ITK_SUFFIXES:
        return read_displacement(path)
    if suffix not in (*AFFINE_SUFFIXES, ".xfm"):
        known = ", ".join((*NIFTI_SUFFIXES, *ITK_SUFFIXES, *AFFINE_SUFFIXES, ".xfm"))
        raise DataError(f"{path}: expected a transform ({known}), found {suffix or 'no suffix'}")
    if suffix == ".txt" and is_elastix(path):
        return read_elastix(path)
    foreign = _read_itk_transform(path, suffix)
    if suffix in TEXT_SUFFIXES:
        parts = list(_leaves(foreign))
        require_complete_text(path, [(t.GetNumberOfParameters(), t.GetNumberOfFixedParameters()) for t in parts])
    return _transform_of(foreign, path)


def _read_itk_transform(path: Path, suffix: str) -> Any:
    sitk = simpleitk()
    require_file(path)
    if suffix in HDF5_SUFFIXES:
        require_complete_hdf5(path)
    if suffix == ".mat":
        require_complete_matlab(path)
    if suffix == ".xfm":
        require_itk_minc(path)
    with reading(path, "a transform"), itk_warnings() as warnings:
        foreign = sitk.ReadTransform(str(path))
    if any("more than one transform" in line for line in warnings):
        raise DataError(
            f"{path}: expected one transform or one composite, found several without an order; "
            "save them one by one, or as a composite"
        )
    return foreign


def _is_composite(foreign: Any) -> bool:
    sitk = simpleitk()
    return bool(foreign.GetTransformEnum() == sitk.sitkComposite)


def _leaves(foreign: Any) -> Iterator[Any]:
    """Yield the members of a chain of chains, in the file's order."""
    if not _is_composite(foreign):
        yield foreign
        return
    for index in range(foreign.GetNumberOfTransforms()):
        yield from _leaves(foreign.GetNthTransform(index))


def _transform_of(foreign: Any, path: Path) -> Transform:
    sitk = simpleitk()
    if foreign.GetDimension() not in (2, 3):
        raise DataError(f"{path}: expected a transform in 2-D or 3-D, found {foreign.GetDimension()}-D")
    if foreign.IsLinear():
        return affine_of(foreign, path)
    if _is_composite(foreign):
        members = [foreign.GetNthTransform(i) for i in range(foreign.GetNumberOfTransforms())]
        # ITK applies the transform added last first.
        return Composite([_transform_of(member, path) for member in reversed(members)])
    if foreign.GetTransformEnum() == sitk.sitkDisplacementField:
        return field_of(foreign.GetDisplacementField(), path)
    if foreign.GetTransformEnum() == sitk.sitkBSplineTransform:
        return _spline_of(foreign, path)
    raise DataError(
        f"{path}: expected an affine transform, a displacement field, B-splines or a chain of these, found a "
        f"{foreign.GetName()}; export it as a displacement field (SimpleITK: TransformToDisplacementField)"
    )


def _spline_of(foreign: Any, path: Path) -> BSplineField:
    """Return ITK's B-splines as ours; ITK keeps the coefficients of each component as an image of control points."""
    if foreign.GetOrder() != 3:
        raise DataError(f"{path}: expected cubic B-splines, found order {foreign.GetOrder()}")
    components = foreign.GetCoefficientImages()
    coefficients = torch.stack([torch.from_numpy(shared_voxels(c).T.copy()) for c in components], dim=-1)
    with naming(path):
        return BSplineField(flip_points(coefficients).float(), grid_of(components[0], path))


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
    with replacing(path) as temporary, itk_warnings():
        try:
            sitk.WriteTransform(foreign, str(temporary))
        except RuntimeError as error:
            raise DataError(f"{path}: could not be written ({reason_of(error)})") from error
