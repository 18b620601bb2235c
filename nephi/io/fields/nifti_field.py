"""Vector fields in NIfTI: displacements, positions, and control points of B-splines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.io.fields.conventions import FieldConvention, vector_code
from nephi.io.fields.field_header import FieldReading, field_reading
from nephi.io.fields.field_values import fill_undefined, warn_of_displacements, warn_of_positions
from nephi.io.foreign import naming, reading
from nephi.io.nifti.header import NiftiFile, read_header
from nephi.io.stored_volume import check_end
from nephi.io.voxels import converted, slabs
from nephi.transforms import BSplineField, ContinuedDisplacement, DisplacementField


def read_nifti_field(path: Path, named: FieldConvention | None) -> DisplacementField | BSplineField:
    """Read the transform of a vector field, as `field_reading` decides; see `read_displacement`.

    Raises `DataError` naming the file when it is missing or damaged, or no field of a known convention.
    """
    file = read_header(path)
    file.require_scalars()
    how = field_reading(file, named)
    grid = _field_grid(file, how.convention)
    return field_from_vectors(path, _read_vectors(file, grid), grid, how)


def field_from_vectors(path: Path, data: Tensor, grid: Grid, how: FieldReading) -> DisplacementField | BSplineField:
    """Return the transform of vectors `(*grid.shape, D)` as stored, float32; they are changed in place.

    Raises `DataError` naming the file when values are not finite. Warns where displacements look like positions, or
    positions like displacements.
    """
    code = vector_code(how.convention.name, grid, how.convention.moving)
    for start, stop in grid.slabs():
        data[..., start:stop, :] = code.decode(data[..., start:stop, :], grid, start, stop)
    with naming(path):
        if how.cubic:
            return BSplineField(data, grid)
        if how.continued:
            fill_undefined(data, grid, path)
        field = (ContinuedDisplacement if how.continued else DisplacementField)(data, grid)
    if how.convention.name == "spm":
        warn_of_displacements(field, path)
    else:
        warn_of_positions(field, path, how.convention.name)
    return field


def _read_vectors(file: NiftiFile, grid: Grid) -> Tensor:
    """Return the vectors `(*grid.shape, D)` as stored, scaled by the header's slope and intercept, in float32."""
    file.require_length()
    components = file.shape[-1]
    # Channels last in memory, the order that lookups read in place; the file has one component after the other.
    field = np.empty((*reversed(grid.shape), components), np.float32)
    with reading(file.path, "a displacement field"), file.open_voxels() as stream:
        for c in range(components):
            for start, stop in slabs(grid.shape):
                block = file.read_block(stream, (*grid.shape[:-1], stop - start))
                field[start:stop, ..., c] = converted(block, np.dtype("f4"), file.scaling).T
        check_end(stream)
    return torch.from_numpy(field).permute(*reversed(range(grid.dimension)), grid.dimension)


def _field_grid(file: NiftiFile, convention: FieldConvention) -> Grid:
    """Return the grid a field lies on; raise `DataError` when its shape, or that of the images named, does not fit."""
    shape = file.shape
    flat = len(shape) == 5 and shape[2:] == (1, 1, 2)
    if not flat and not (len(shape) == 4 and shape[3] == 3) and not (len(shape) == 5 and shape[3:] == (1, 3)):
        raise DataError(
            f"{file.path}: expected a displacement field of shape (X, Y, Z, 3), (X, Y, Z, 1, 3) or (X, Y, 1, 1, 2), "
            f"found {shape}; give a field, or another --transform-format"
        )
    if flat and convention.name in ("learn2reg", "fsl"):
        raise DataError(f"{file.path}: expected a 3-D field, as {convention.name} fields are, found a 2-D one")
    return named_grid(file.path, file.grid if flat else file.grid_3d, convention)


def named_grid(path: Path, own: Grid, convention: FieldConvention) -> Grid:
    """Return the grid that a field lies on: that of the fixed image, where the convention names one, or its own.

    Raises `DataError` naming the file when the images that the convention names do not fit.
    """
    for grid, name in ((convention.fixed, "fixed"), (convention.moving, "moving")):
        if grid is not None and (grid.dimension != own.dimension or (name == "fixed" and grid.shape != own.shape)):
            raise DataError(f"{path}: expected a {name} image to match the field's {own.shape}, found {grid.shape}")
    return convention.fixed or own
