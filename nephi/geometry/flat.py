"""2-D grids of single slices in three-dimensional files: 2-D images are axial, in the world's x-y plane."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry.grid import Grid, Plane

AXIAL_TOLERANCE = 1e-4  # sine of the angle between an axis and the x-y plane


def flat_grid(shape: tuple[int, ...], affine: Tensor, path: object) -> Grid:
    """Return the 2-D grid of a slice of `shape` `(X, Y)`, or `(X, Y, 1)` in a file of three axes, with its plane.

    `affine` is the 4x4 voxel-to-world matrix. Raises `DataError` naming `path` when the slice is not parallel to the
    world's x-y plane.
    """
    sine = affine[2, :2].abs() / affine[:3, :2].norm(dim=0).clamp(min=1e-300)
    if bool((sine > AXIAL_TOLERANCE).any()):
        raise DataError(
            f"{path}: expected the axes of a 2-D image in the world's x-y plane, found a single slice in another "
            "orientation; rewrite its header as an axial one, or give a volume of several slices"
        )
    axes = torch.tensor([0, 1, 3], dtype=torch.int64)
    try:
        return Grid(shape[:2], affine[axes][:, axes], _plane_of(affine, has_third_axis=len(shape) > 2))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _plane_of(affine: Tensor, has_third_axis: bool) -> Plane | None:
    height, step = float(affine[2, 3]), float(affine[2, 2])
    if not math.isfinite(height):
        raise DataError("the voxel-to-world affine holds NaN or infinite values")
    if has_third_axis:
        return Plane(height, step if math.isfinite(step) and step != 0 else 1.0)
    return Plane(height) if height else None


def flattened(grid: Grid, path: object) -> Grid:
    """Convert a 3-D grid of one slice to its 2-D grid, and return any other unchanged; errors as for `flat_grid`."""
    return flat_grid(grid.shape, grid.affine, path) if grid.dimension == 3 and grid.shape[2] == 1 else grid
