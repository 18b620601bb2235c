"""Displacement fields held in memory: files of NIfTI and of ITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nephi.errors import DataError, UsageError
from nephi.io.displacement_writer import VECTOR
from nephi.io.foreign import ITK_SUFFIXES, NIFTI_SUFFIXES, naming, reading, suffix_of
from nephi.io.frames import flip_points, require_perpendicular
from nephi.io.gzipped import open_input
from nephi.io.itk import grid_of, place, read_itk, require_dimension, shared_voxels, simpleitk, write_itk
from nephi.io.nifti import check_end, read_block
from nephi.io.nifti_header import NiftiFile, read_header
from nephi.io.voxels import converted, slabs
from nephi.transforms import DisplacementField

DISPVECT = 1006  # NIfTI intent: RAS components; ITK from 5.4 and 3-D Slicer turn them into LPS


def read_displacement(path: str | Path) -> DisplacementField:
    """Read `u(x)` of `phi(x) = x + u(x)` in world mm.

    NIfTI of shape `(X, Y, Z, 1, 3)` or `(X, Y, 1, 1, 2)` with intent 1007 (LPS components) or 1006 (RAS components);
    `.mha`, `.mhd`, `.nrrd`, `.nhdr` with a vector a voxel (LPS). Vectors are held as float32.

    Raises `DataError` naming the file when it is missing or damaged, or when its shape, intent or unit does not say
    in which frame and unit the vectors are.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix in NIFTI_SUFFIXES:
        return _read_nifti_field(path)
    if suffix in ITK_SUFFIXES:
        return field_of(read_itk(path, f"a displacement field in {suffix} format"), path)
    known = ", ".join(NIFTI_SUFFIXES + ITK_SUFFIXES)
    raise DataError(f"{path}: expected a displacement field ({known}), found {suffix or 'no suffix'}")


def _read_nifti_field(path: Path) -> DisplacementField:
    file = read_header(path)
    _require_known_convention(file)
    components = file.shape[4]
    grid = file.grid_3d if components == 3 else file.grid
    signs = [1, 1, 1] if file.intent == DISPVECT else [-1, -1, 1]
    # Channels last in memory, the order that lookups read in place; the file has one component after the other.
    field = np.empty((*reversed(grid.shape), components), np.float32)
    with reading(path, "a displacement field"), open_input(path) as stream:
        stream.seek(file.offset)
        for c in range(components):
            for start, stop in slabs(grid.shape):
                block = read_block(stream, file, (*grid.shape[:-1], stop - start))
                values = converted(block, np.dtype("f4"), file.scaling)
                np.multiply(values.T, signs[c], out=field[start:stop, ..., c])
        check_end(stream)
    data = torch.from_numpy(field).permute(*reversed(range(grid.dimension)), grid.dimension)
    with naming(path):
        return DisplacementField(data, grid)


def _require_known_convention(file: NiftiFile) -> None:
    shape = file.shape
    if len(shape) != 5 or shape[3] != 1 or shape[4] not in (2, 3) or (shape[4] == 2 and shape[2] != 1):
        raise DataError(
            f"{file.path}: expected a displacement field of shape (X, Y, Z, 1, 3) or (X, Y, 1, 1, 2), found {shape}; "
            "frame and unit of such vectors cannot be told, export the field again (nephi, ITK, ANTs)"
        )
    if file.intent not in (VECTOR, DISPVECT):
        raise DataError(
            f"{file.path}: expected intent 1007 (LPS vectors) or 1006 (RAS vectors), found {file.intent}; the frame of "
            "the vectors cannot be told, set the intent in the header"
        )
    if file.unit not in ("mm", "unknown"):
        raise DataError(f"{file.path}: expected a displacement field in mm, found the unit {file.unit}; convert it")


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
    field = vectors.astype(np.float32, copy=False)
    np.negative(field[..., :2], out=field[..., :2])
    data = torch.from_numpy(field).permute(*reversed(range(d)), d)
    with naming(path):
        return DisplacementField(data, grid_of(foreign, path))


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
