"""Read displacement fields from NIfTI and ITK files, and write one that is in memory to a file of ITK."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from nephi.errors import DataError, UsageError
from nephi.geometry.frames import flip_points, require_perpendicular
from nephi.io.fields.conventions import FieldConvention
from nephi.io.fields.field_header import FieldInterpretation
from nephi.io.fields.nifti_field import field_from_vectors, field_grid, read_nifti_field
from nephi.io.files.input_files import ITK_SUFFIXES, NIFTI_SUFFIXES, PAIR_SUFFIXES, suffix_of
from nephi.io.itk import set_geometry, simpleitk, write_itk
from nephi.io.meta_nrrd.voxel_image import read_voxel_vectors
from nephi.transforms import DisplacementField


@torch.inference_mode(False)
def read_displacement(path: str | Path, convention: FieldConvention | None = None) -> DisplacementField:
    """Read the displacement field `u(x)` of `phi(x) = x + u(x)`, in world mm (RAS).

    Accepted are NIfTI files of shape `(X, Y, Z, 1, 3)` or `(X, Y, 1, 1, 2)` with intent 1007 (LPS components), intent
    1006 (RAS components) or the intent name of SPM or NiftyReg, and `.mha`, `.mhd`, `.nrrd`, `.nhdr` files with one
    vector per voxel (LPS). A `convention` overrides the header, and allows NIfTI of shape `(X, Y, Z, 3)`. Vectors are
    float32 in memory.

    Raises `DataError` naming the file when it is missing or damaged, or when its header does not state the frame and
    the unit of the vectors.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix in NIFTI_SUFFIXES + PAIR_SUFFIXES:
        field = read_nifti_field(path, convention)
        if not isinstance(field, DisplacementField):
            raise DataError(f"{path}: expected a displacement field, found B-splines; use read_transform")
        return field
    if suffix in ITK_SUFFIXES:
        return _read_itk_field(path, convention)
    known = ", ".join(NIFTI_SUFFIXES + ITK_SUFFIXES)
    raise DataError(f"{path}: expected a displacement field ({known}), found {suffix or 'no suffix'}")


def _read_itk_field(path: Path, user_convention: FieldConvention | None) -> DisplacementField:
    vectors, file = read_voxel_vectors(path)
    convention = user_convention or FieldConvention("itk")
    if convention.name == "niftyreg":
        raise DataError(
            f"{path}: expected a NIfTI file for --transform-format niftyreg, found {path.suffix}; use spm for "
            "positions in RAS mm, slicer for displacements in RAS mm"
        )
    grid = field_grid(path, file.grid, convention)
    if grid.dimension == 2 and convention.name in ("learn2reg", "fsl"):
        raise DataError(f"{path}: expected a 3-D field for the convention {convention.name}, found a 2-D one")
    data = torch.from_numpy(vectors).permute(*reversed(range(grid.dimension)), grid.dimension)
    name = "itk" if convention.name == "greedy" else convention.name
    interpretation = FieldInterpretation(replace(convention, name=name), continued=name == "spm")
    field = field_from_vectors(path, data, grid, interpretation)
    assert isinstance(field, DisplacementField)
    return field


def write_displacement_itk(path: str | Path, field: DisplacementField) -> None:
    """Write a displacement field as a `.mha`, `.mhd`, `.nrrd` or `.nhdr` image of float32 LPS vectors in mm.

    Raises `UsageError` for any other suffix, `DataError` for a sheared grid or a file that cannot be written.
    """
    sitk = simpleitk()
    path = Path(path)
    if suffix_of(path) not in ITK_SUFFIXES:
        raise UsageError(f"{path}: expected one of {', '.join(ITK_SUFFIXES)}, got {suffix_of(path) or 'no suffix'}")
    require_perpendicular(field.grid, path, "a displacement field")
    vectors = flip_points(field.displacement.detach().float()).cpu()
    order = (*reversed(range(field.dimension)), field.dimension)
    image = sitk.GetImageFromArray(vectors.permute(order).contiguous().numpy(), isVector=True)
    set_geometry(image, field.grid)
    write_itk(image, path)
