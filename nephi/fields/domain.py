"""The box a field lives in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nephi.geometry import Grid


class Domain(nn.Module):
    """The unit cube spanned by a grid's outermost voxel centres, along the grid's own axes.

    Beyond the cube coordinates are moved to its faces: a field's displacement continues as the constant it has at
    the border, for every kind of network (sine networks oscillate where nothing was fitted).
    """

    to_unit: Tensor
    offset: Tensor
    to_world: Tensor

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        extent = (torch.tensor(grid.shape, dtype=torch.float64) - 1).clamp(min=1.0)
        self.register_buffer("to_unit", (grid.inverse_affine[:-1, :-1] / extent[:, None]).float(), persistent=False)
        self.register_buffer("offset", (grid.inverse_affine[:-1, -1] / extent).float(), persistent=False)
        self.register_buffer("to_world", (grid.affine[:-1, :-1] * extent).float(), persistent=False)
        self.lengths = tuple((grid.spacing * extent).tolist())

    def unit(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit-cube points `(N, D)` of world points, moved into the cube, and which coordinates lay inside."""
        raw = torch.addmm(self.offset, points, self.to_unit.T)
        clamped = raw.clamp(0, 1)
        return clamped, raw == clamped

    def lattice(self, spacing: float) -> tuple[int, ...]:
        """Return the shape of a lattice over the cube with nodes no farther apart than `spacing` mm."""
        return tuple(max(2, int(-(-length // spacing)) + 1) for length in self.lengths)
