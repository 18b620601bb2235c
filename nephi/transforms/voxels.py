"""A transform at all voxels of a grid, slab by slab."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.transforms.node_values import NodeValues, fitted_slabs
from nephi.transforms.transform import Transform

Item = TypeVar("Item")
Result = TypeVar("Result")


class OrderedMap(Protocol):
    """A function that applies another to items and returns the results in their order, as `map` does."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        """Return `function(item)` of all items."""


def displacement_slabs(
    transform: Callable[[Tensor], Tensor], grid: Grid, ordered_map: OrderedMap = map
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield slices `(start, stop)` of the last axis and the displacements `(..., n, D)`, mm, of their voxel centres.

    An iterative transform is first evaluated at every other voxel along each axis. The mean of these displacements is
    the start at the voxels between them, from which the iteration needs about a third fewer evaluations. `NodeValues`
    at their own nodes are computed from the displacements of the original transform, each evaluated once.

    `ordered_map` may compute several slabs at the same time, for a transform that several threads may call.
    """
    if isinstance(transform, NodeValues) and transform.grid.same_as(grid):
        yield from fitted_slabs(displacement_slabs(transform.transform, grid, ordered_map), grid)
    elif isinstance(transform, Transform) and transform.is_iterative:
        yield from _solved_slabs(transform, grid, ordered_map)
    else:
        yield from ordered_map(lambda slab: (*slab, _displacements(transform, grid, *slab)), grid.slabs())


def _displacements(transform: Callable[[Tensor], Tensor], grid: Grid, start: int, stop: int) -> Tensor:
    points = grid.voxel_centres(start, stop)
    return transform(points) - points


def _solved_slabs(transform: Transform, grid: Grid, ordered_map: OrderedMap) -> Iterator[tuple[int, int, Tensor]]:
    def solve(slab: tuple[int, int, Tensor]) -> tuple[int, int, Tensor]:
        start, stop, coarse = slab
        points = grid.voxel_centres(start, stop)
        guess = points + _interpolated(coarse, grid, start, stop)
        return start, stop, transform.solve_from(points, guess) - points

    return ordered_map(solve, _coarse_slabs(transform, grid, ordered_map))


def _coarse_slabs(transform: Transform, grid: Grid, ordered_map: OrderedMap) -> Iterator[tuple[int, int, Tensor]]:
    """Yield the slabs of a grid with the displacements at every other voxel that lie in them, and around them."""
    twice = torch.tensor([*[2.0] * grid.dimension, 1.0], dtype=torch.float64)
    # An axis of even length needs one node beyond its last voxel.
    coarse = Grid(tuple(n // 2 + 1 for n in grid.shape), grid.affine * twice)
    slabs = list(grid.slabs())
    ends = [0, *(stop // 2 + 1 for _, stop in slabs)]  # of the coarse slices of each slab, each evaluated once

    def evaluate(ends: tuple[int, int]) -> Tensor | None:
        return None if ends[0] == ends[1] else _displacements(transform, coarse, *ends)

    further = ordered_map(evaluate, pairwise(ends))
    kept, first = None, 0  # displacements from slice `first` of the coarse grid on
    for (start, stop), displacements in zip(slabs, further, strict=True):
        parts = [part for part in (kept, displacements) if part is not None]
        kept, first = torch.cat(parts, dim=-2)[..., start // 2 - first :, :], start // 2
        yield start, stop, kept


def _interpolated(coarse: Tensor, grid: Grid, start: int, stop: int) -> Tensor:
    """Return the displacements of slices `start:stop` from those at every other voxel, from slice `start // 2` on."""
    result = coarse
    for axis, size in enumerate(grid.shape[:-1]):
        result = _insert_means(result, axis).narrow(axis, 0, size)
    axis = grid.dimension - 1
    return _insert_means(result, axis).narrow(axis, start % 2, stop - start)


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
