"""Displacement fields held in memory: files of NIfTI and of ITK."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from nephi.errors import DataError, UsageError
from nephi.io.fields.conventions import FieldConvention
from nephi.io.fields.field_header import FieldReading
from nephi.io.fields.nifti_field import field_from_vectors, named_grid, read_nifti_field
from nephi.io.foreign import ITK_SUFFIXES, NIFTI_SUFFIXES, PAIR_SUFFIXES, suffix_of
from nephi.io.frames import flip_points, require_perpendicular
from nephi.io.itk import place, simpleitk, write_itk
from nephi.io.meta_nrrd.voxel_image import read_voxel_vectors
from nephi.transforms import DisplacementField


@torch.inference_mode(False)
def read_displacement(path: str | Path, convention: FieldConvention | None = None) -> DisplacementField:
    """Read `u(x)` of `phi(x) = x + u(x)` in world mm.

    NIfTI of shape `(X, Y, Z, 1, 3)` or `(X, Y, 1, 1, 2)` with intent 1007 (LPS components) or 1006 (RAS components);
    or with the intent name of SPM's or NiftyReg's fields; `.mha`, `.mhd`, `.nrrd`, `.nhdr` with a vector a voxel (LPS).
    Vectors are held as float32. A `convention`, when given, counts before the header; the shape `(X, Y, Z, 3)` of NIfTI
    is allowed then.

    Raises `DataError` naming the file when it is missing or damaged, or when its shape, intent or unit does not state
    the frame and the unit of the vectors.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix in NIFTI_SUFFIXES + PAIR_SUFFIXES:
        field = read_nifti_field(path, convention)
        if not isinstance(field, DisplacementField):
            raise DataError(f"{path}: expected a displacement field, found B-splines; read it with read_transform")
        return field
    if suffix in ITK_SUFFIXES:
        return _read_itk_field(path, convention)
    known = ", ".join(NIFTI_SUFFIXES + ITK_SUFFIXES)
    raise DataError(f"{path}: expected a displacement field ({known}), found {suffix or 'no suffix'}")


def _read_itk_field(path: Path, named: FieldConvention | None) -> DisplacementField:
    vectors, file = read_voxel_vectors(path)
    convention = named or FieldConvention("itk")
    if convention.name == "niftyreg":
        raise DataError(
            f"{path}: expected a NIfTI file, whose header states the kind of NiftyReg's fields, found {path.suffix}; "
            "--transform-format spm reads positions in RAS mm, slicer displacements in RAS mm"
        )
    grid = named_grid(path, file.grid, convention)
    if grid.dimension == 2 and convention.name in ("learn2reg", "fsl"):
        raise DataError(f"{path}: expected a 3-D field, as {convention.name} fields are, found a 2-D one")
    data = torch.from_numpy(vectors).permute(*reversed(range(grid.dimension)), grid.dimension)
    name = "itk" if convention.name == "greedy" else convention.name
    field = field_from_vectors(path, data, grid, FieldReading(replace(convention, name=name), continued=name == "spm"))
    assert isinstance(field, DisplacementField)
    return field


def write_displacement_itk(path: str | Path, field: DisplacementField) -> None:
    """Write a field in memory as a `.mha`, `.mhd`, `.nrrd` or `.nhdr` image of float32 LPS vectors in mm.

    Raises `UsageError` for another suffix, `DataError` for a sheared grid or a file that cannot be written.
    """
    sitk = simpleitk()
    path = Path(path)
    if suffix_of(path) not in ITK_SUFFIXES:
        raise UsageError(f"{path}: expected one of {', '.join(ITK_SUFFIXES)}, got {suffix_of(path) or 'no suffix'}")
    require_perpendicular(field.grid, path, "a displacement field")
    vectors = flip_points(field.displacement.detach().float()).cpu()
    order = (*reversed(range(field.dimension)), field.dimension)
    foreign = sitk.GetImageFromArray(vectors.permute(order).contiguous().numpy(), isVector=True)
    place(foreign, field.grid)
    write_itk(foreign, path)
