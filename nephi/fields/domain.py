"""The box over which a field is defined."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nephi.geometry import Grid


class Domain(nn.Module):
    """The unit cube spanned by a grid's outermost voxel centres, along the grid's own axes.

    Coordinates outside the cube are clamped to its faces: a field's displacement continues with its value at the
    border, for every kind of network (sine networks oscillate where nothing was fitted).
    """

    to_unit: Tensor
    offset: Tensor
    to_world: Tensor

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid
        extent = (torch.tensor(grid.shape, dtype=torch.float64) - 1).clamp(min=1.0)
        self.register_buffer("to_unit", (grid.inverse_affine[:-1, :-1] / extent[:, None]).float(), persistent=False)
        self.register_buffer("offset", (grid.inverse_affine[:-1, -1] / extent).float(), persistent=False)
        self.register_buffer("to_world", (grid.affine[:-1, :-1] * extent).float(), persistent=False)
        self.lengths = tuple((grid.spacing * extent).tolist())

    def unit(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit-cube points `(N, D)` of world points, clamped to the cube, and which coordinates were inside."""
        raw = torch.addmm(self.offset, points, self.to_unit.T)
        clamped = raw.clamp(0, 1)
        return clamped, raw == clamped

    def lattice(self, spacing: float) -> tuple[int, ...]:
        """Return the shape of a lattice over the cube with nodes no farther apart than `spacing` mm."""
        return tuple(max(2, int(-(-length // spacing)) + 1) for length in self.lengths)

    def nested_lattices(self, spacings: Sequence[float]) -> list[tuple[int, ...]]:
        """Return a lattice for each spacing, with all nodes among those of the finest or midway between these.

        Nodes are no farther apart than the spacing, and along each axis as few as possible, summed over the lattices. A
        function interpolated linearly on all of them has kinks only at the planes of the finest one and midway between
        them, so that one displacement field exported on these planes represents all of them (see `Transform.cells`).
        """
        ordered = sorted(spacings, reverse=True)
        needed = [[nodes - 1 for nodes in self.lattice(spacing)] for spacing in ordered]
        axes = [dividing_counts(along) for along in zip(*needed, strict=True)]
        shapes = {s: tuple(n + 1 for n in cells) for s, cells in zip(ordered, zip(*axes, strict=True), strict=True)}
        return [shapes[spacing] for spacing in spacings]


def dividing_counts(least: Sequence[int]) -> list[int]:
    """Return counts of at least these, each of which divides twice the last and largest one, with the smallest sum.

    `least` is in ascending order. `.nephi` files hold no lattices: this function is a part of the format.
    """
    *others, last = least
    # A solution exists below twice the last: every count rounded up to a multiple of the one before.
    solutions = [[*(_divisor(2 * count, need) for need in others), count] for count in range(last, 2 * last)]
    return min(solutions, key=sum)


def _divisor(number: int, least: int) -> int:
    """Return the smallest divisor of a number that is not below `least`."""
    return next(count for count in range(least, number + 1) if number % count == 0)
