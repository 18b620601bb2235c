"""A transform at all voxels of a grid, slab by slab."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.transforms.node_values import NodeValues, fitted_slabs
from nephi.transforms.transform import Transform


def displacement_slabs(transform: Callable[[Tensor], Tensor], grid: Grid) -> Iterator[tuple[int, int, Tensor]]:
    """Yield slices `(start, stop)` of the last axis and the displacements `(..., n, D)`, mm, of their voxel centres.

    An iterative transform is first evaluated at every other voxel along each axis. The mean of these displacements is
    the start at the voxels between them, from which the iteration needs about a third fewer evaluations. `NodeValues`
    at their own nodes are computed from the displacements of the original transform, each evaluated once.
    """
    if isinstance(transform, NodeValues) and transform.grid.same_as(grid):
        yield from fitted_slabs(displacement_slabs(transform.transform, grid), grid)
        return
    if not (isinstance(transform, Transform) and transform.is_iterative):
        for start, stop in grid.slabs():
            points = grid.voxel_centres(start, stop)
            yield start, stop, transform(points) - points
        return
    interpolated = _InterpolatedStart(transform, grid)
    for start, stop in grid.slabs():
        points = grid.voxel_centres(start, stop)
        yield start, stop, transform.solve_from(points, points + interpolated(start, stop)) - points


class _InterpolatedStart:
    """Interpolate displacements at the voxels of a grid from those at every other voxel along each axis."""

    def __init__(self, transform: Transform, grid: Grid) -> None:
        self._transform = transform
        self._shape = grid.shape
        twice = torch.tensor([*[2.0] * grid.dimension, 1.0], dtype=torch.float64)
        # An axis of even length needs one node beyond its last voxel.
        self._coarse = Grid(tuple(n // 2 + 1 for n in grid.shape), grid.affine * twice)
        self._first = 0
        self._kept = torch.zeros(0, dtype=torch.float32)  # displacements from slice `_first` of the coarse grid on

    def __call__(self, start: int, stop: int) -> Tensor:
        """Return the displacements of slices `start` to `stop` of the grid; slabs must follow each other in order."""
        first, last = start // 2, stop // 2 + 1
        kept = self._kept[..., first - self._first :, :] if self._kept.numel() else self._kept
        missing = first + (kept.shape[-2] if kept.numel() else 0)
        if missing < last:
            points = self._coarse.voxel_centres(missing, last)
            displacement = self._transform(points) - points
            kept = torch.cat([kept, displacement], dim=-2) if kept.numel() else displacement
        self._first, self._kept = first, kept
        result = kept
        for axis, size in enumerate(self._shape[:-1]):
            result = _insert_means(result, axis).narrow(axis, 0, size)
        axis = len(self._shape) - 1
        return _insert_means(result, axis).narrow(axis, start - 2 * first, stop - start)


def _insert_means(values: Tensor, axis: int) -> Tensor:
    """Insert the mean of each two neighbours along an axis between them."""
    count = values.shape[axis]
    if count == 1:
        return values
    shape = list(values.shape)
    shape[axis] = 2 * count - 1
    result = values.new_empty(shape)
    slices = [slice(None)] * values.ndim
    slices[axis] = slice(0, None, 2)
    result[tuple(slices)] = values
    slices[axis] = slice(1, None, 2)
    result[tuple(slices)] = torch.lerp(values.narrow(axis, 0, count - 1), values.narrow(axis, 1, count - 1), 0.5)
    return result
