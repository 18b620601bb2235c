"""Read vector fields from NIfTI: displacements, positions, and control points of B-splines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images.voxels import convert_voxels, slabs
from nephi.io.fields.conventions import FieldConvention, vector_codec
from nephi.io.fields.field_header import FieldInterpretation, interpret_field
from nephi.io.fields.field_values import fill_undefined, warn_if_displacements, warn_if_positions
from nephi.io.files.input_files import prefix_errors, reading
from nephi.io.nifti.header import NiftiFile, read_header
from nephi.io.stored_volume import verify_checksum
from nephi.transforms import BSplineField, ContinuedDisplacement, DisplacementField


def read_nifti_field(path: Path, user_convention: FieldConvention | None) -> DisplacementField | BSplineField:
    """Read a vector field as a transform, with the convention that `interpret_field` returns.

    Raises `DataError` naming the file when it is missing, damaged, or not a field of a known convention.
    """
    file = read_header(path)
    file.require_scalars()
    interpretation = interpret_field(file, user_convention)
    grid = _nifti_field_grid(file, interpretation.convention)
    return field_from_vectors(path, _read_vectors(file, grid), grid, interpretation)


def field_from_vectors(
    path: Path, data: Tensor, grid: Grid, interpretation: FieldInterpretation
) -> DisplacementField | BSplineField:
    """Return the transform that stored vectors `(*grid.shape, D)`, float32, represent; converts them in place.

    Raises `DataError` naming the file when values are not finite. Warns when displacements look like positions, or
    positions like displacements.
    """
    convention, continued = interpretation.convention, interpretation.continued
    codec = vector_codec(convention.name, grid, convention.moving)
    for start, stop in grid.slabs():
        data[..., start:stop, :] = codec.decode(data[..., start:stop, :], grid, start, stop)
    with prefix_errors(path):
        if interpretation.cubic:
            return BSplineField(data, grid)
        if continued:
            fill_undefined(data, grid, path)
        field = (ContinuedDisplacement if continued else DisplacementField)(data, grid)
    if convention.name == "spm":
        warn_if_displacements(field, path)
    else:
        warn_if_positions(field, path, convention.name)
    return field


def _read_vectors(file: NiftiFile, grid: Grid) -> Tensor:
    """Read the vectors `(*grid.shape, D)`, scaled by the header's slope and intercept, in float32."""
    file.require_length()
    components = file.shape[-1]
    # Channels last in memory, as interpolation reads them without a copy; the file has one component after the other.
    field = np.empty((*reversed(grid.shape), components), np.float32)
    with reading(file.path, "a displacement field"), file.open_voxels() as stream:
        for c in range(components):
            for start, stop in slabs(grid.shape):
                block = file.read_block(stream, (*grid.shape[:-1], stop - start))
                field[start:stop, ..., c] = convert_voxels(block, np.dtype("f4"), file.scaling).T
        verify_checksum(stream)
    return torch.from_numpy(field).permute(*reversed(range(grid.dimension)), grid.dimension)


def _nifti_field_grid(file: NiftiFile, convention: FieldConvention) -> Grid:
    """Return the grid of a field; raise `DataError` when its shape, or that of the convention's images, is wrong."""
    shape = file.shape
    flat = len(shape) == 5 and shape[2:] == (1, 1, 2)
    if not flat and not (len(shape) == 4 and shape[3] == 3) and not (len(shape) == 5 and shape[3:] == (1, 3)):
        raise DataError(
            f"{file.path}: expected a displacement field of shape (X, Y, Z, 3), (X, Y, Z, 1, 3) or (X, Y, 1, 1, 2), "
            f"found {shape}; give a displacement field, or another --transform-format"
        )
    if flat and convention.name in ("learn2reg", "fsl"):
        raise DataError(f"{file.path}: expected a 3-D field for the convention {convention.name}, found a 2-D one")
    return field_grid(file.path, file.grid if flat else file.grid_3d, convention)


def field_grid(path: Path, header_grid: Grid, convention: FieldConvention) -> Grid:
    """Return the grid of a field: that of the convention's fixed image if it has one, else that of the header.

    Raises `DataError` naming the file when dimension or shape of the convention's images differ from the field's.
    """
    for grid, name in ((convention.fixed, "fixed"), (convention.moving, "moving")):
        if grid is not None and (
            grid.dimension != header_grid.dimension or (name == "fixed" and grid.shape != header_grid.shape)
        ):
            raise DataError(
                f"{path}: expected a {name} image to match the field's {header_grid.shape}, found {grid.shape}"
            )
    return convention.fixed or header_grid
