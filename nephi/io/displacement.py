"""Displacement fields held in memory: files of NIfTI and of ITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.io.conventions import FieldConvention
from nephi.io.field_values import warn_of_positions
from nephi.io.foreign import ITK_SUFFIXES, NIFTI_SUFFIXES, naming, suffix_of
from nephi.io.frames import flip_points, require_perpendicular
from nephi.io.itk import grid_of, place, require_dimension, shared_voxels, simpleitk, write_itk
from nephi.io.nifti_field import read_nifti_field
from nephi.io.voxel_image import read_voxel_vectors
from nephi.io.voxels import Array
from nephi.transforms import DisplacementField


@torch.inference_mode(False)
def read_displacement(path: str | Path, convention: FieldConvention | None = None) -> DisplacementField:
    """Read `u(x)` of `phi(x) = x + u(x)` in world mm.

    NIfTI of shape `(X, Y, Z, 1, 3)` or `(X, Y, 1, 1, 2)` with intent 1007 (LPS components) or 1006 (RAS components);
    or with the intent name of SPM's or NiftyReg's fields; `.mha`, `.mhd`, `.nrrd`, `.nhdr` with a vector a voxel (LPS).
    Vectors are held as float32. A `convention`, when given, counts before the header of a NIfTI file; the shape
    `(X, Y, Z, 3)` is allowed then.

    Raises `DataError` naming the file when it is missing or damaged, or when its shape, intent or unit does not state
    the frame and the unit of the vectors.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix in NIFTI_SUFFIXES:
        field = read_nifti_field(path, convention)
        if not isinstance(field, DisplacementField):
            raise DataError(f"{path}: expected a displacement field, found B-splines; read it with read_transform")
        return field
    if suffix in ITK_SUFFIXES:
        vectors, file = read_voxel_vectors(path)
        field = _field_of_lps(vectors, file.grid, path)
        warn_of_positions(field, path)
        return field
    known = ", ".join(NIFTI_SUFFIXES + ITK_SUFFIXES)
    raise DataError(f"{path}: expected a displacement field ({known}), found {suffix or 'no suffix'}")


def field_of(foreign: Any, path: Path) -> DisplacementField:
    """Return a SimpleITK image of LPS vectors as a displacement field, sharing its memory if it is float32."""
    require_dimension(foreign, path)
    d, components = foreign.GetDimension(), foreign.GetNumberOfComponentsPerPixel()
    vectors = shared_voxels(foreign)
    if components != d or vectors.ndim != d + 1 or vectors.dtype.kind != "f":
        raise DataError(
            f"{path}: expected a displacement field with {d} real components a voxel, found {components} of type "
            f"{foreign.GetPixelIDTypeAsString()}"
        )
    return _field_of_lps(vectors.astype(np.float32, copy=False), grid_of(foreign, path), path)


def _field_of_lps(vectors: Array, grid: Grid, path: Path) -> DisplacementField:
    """Return LPS vectors `([z, ]y, x, D)` in float32 as a displacement field; they are changed in place."""
    d = grid.dimension
    np.negative(vectors[..., :2], out=vectors[..., :2])
    data = torch.from_numpy(vectors).permute(*reversed(range(d)), d)
    with naming(path):
        return DisplacementField(data, grid)


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
