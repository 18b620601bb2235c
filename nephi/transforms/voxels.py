"""A transform at all voxels of a grid, slab by slab."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.transforms.transform import Transform


def displacement_slabs(transform: Callable[[Tensor], Tensor], grid: Grid) -> Iterator[tuple[int, int, Tensor]]:
    """Yield slices `(start, stop)` of the last axis and the displacements `(..., n, D)`, mm, of their voxel centres.

    A transform that searches for its values does so at every other voxel along each axis first: halfway between them
    the mean of their displacements is a start from which a search needs a third less than from anywhere else.
    """
    if not (isinstance(transform, Transform) and transform.searches):
        for start, stop in grid.slabs():
            points = grid.voxel_centres(start, stop)
            yield start, stop, transform(points) - points
        return
    between = _Between(transform, grid)
    for start, stop in grid.slabs():
        points = grid.voxel_centres(start, stop)
        yield start, stop, transform.near(points, points + between(start, stop)) - points


class _Between:
    """Displacements at the voxels of a grid as means of those at every other voxel along each axis."""

    def __init__(self, transform: Transform, grid: Grid) -> None:
        self._transform = transform
        self._shape = grid.shape
        twice = torch.tensor([*[2.0] * grid.dimension, 1.0], dtype=torch.float64)
        # Where the last voxel lies halfway, the one after it is needed, too.
        self._thinned = Grid(tuple(n // 2 + 1 for n in grid.shape), grid.affine * twice)
        self._first = 0
        self._known = torch.zeros(0, dtype=torch.float32)  # from slice `_first` of the thinned grid on

    def __call__(self, start: int, stop: int) -> Tensor:
        """Return those of slices `start` to `stop` of the grid; slabs are asked for in their order."""
        first, last = start // 2, stop // 2 + 1
        known = self._known[..., first - self._first :, :] if self._known.numel() else self._known
        missing = first + (known.shape[-2] if known.numel() else 0)
        if missing < last:
            points = self._thinned.voxel_centres(missing, last)
            found = self._transform(points) - points
            known = torch.cat([known, found], dim=-2) if known.numel() else found
        self._first, self._known = first, known
        result = known
        for axis, size in enumerate(self._shape[:-1]):
            result = _doubled(result, axis).narrow(axis, 0, size)
        axis = len(self._shape) - 1
        return _doubled(result, axis).narrow(axis, start - 2 * first, stop - start)


def _doubled(values: Tensor, axis: int) -> Tensor:
    """Put the mean of each two neighbours along an axis between them."""
    count = values.shape[axis]
    if count == 1:
        return values
    shape = list(values.shape)
    shape[axis] = 2 * count - 1
    result = values.new_empty(shape)
    at = [slice(None)] * values.ndim
    at[axis] = slice(0, None, 2)
    result[tuple(at)] = values
    at[axis] = slice(1, None, 2)
    result[tuple(at)] = torch.lerp(values.narrow(axis, 0, count - 1), values.narrow(axis, 1, count - 1), 0.5)
    return result
