"""The order and direction of array axes that a published network was trained with."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid

AXES = ("itk", "canonical")
FLIPPED = (0, 1)  # axes whose directions differ between RAS and LPS


def check_axes(axes: str) -> None:
    """Raise `UsageError` unless `axes` is one of `AXES`."""
    if axes not in AXES:
        raise UsageError(f"model.axes: expected one of {', '.join(AXES)}, got {axes!r}")


def array_shape(shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """Return the shape of a network's array for a box of `shape` along x, y (, z), or the box of an array's shape."""
    return shape[::-1] if axes == "itk" else shape


def array_grid(grid: Grid, axes: str) -> Grid:
    """Return the voxels of a box in the network's array order; world positions stay.

    The axes of `grid` point right, anterior (, superior). `itk`: the array of an ITK image with LPS axes: the last axis
    first (z, y, x), towards superior, posterior, left. `canonical`: those of `grid`.
    """
    if axes == "canonical":
        return grid
    affine = grid.affine.clone()
    for axis in FLIPPED:
        affine[:, -1] += (grid.shape[axis] - 1) * affine[:, axis]
        affine[:, axis] *= -1
    order = [*reversed(range(grid.dimension)), grid.dimension]
    return Grid(array_shape(grid.shape, axes), affine[:, order])


def array_images(images: Tensor, axes: str) -> Tensor:
    """Return images `(B, 1, *grid.shape)` in the order of `array_grid`."""
    if axes == "canonical":
        return images
    flipped = torch.flip(images, [2 + axis for axis in FLIPPED])
    return flipped.permute(0, 1, *reversed(range(2, images.ndim))).contiguous()
