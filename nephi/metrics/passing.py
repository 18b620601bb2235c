"""Measures of a dense displacement field that is never in memory as a whole."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.geometry import Grid, determinant_of_rows
from nephi.images import Image
from nephi.metrics.regularity import FieldStatistics, slab_inside
from nephi.transforms import Transform


class PassingField:
    """Gather folding statistics from the slabs of a displacement field while they are written.

    Determinants come from finite differences between voxels: central as in the tools that read the file, one-sided at
    the border (where ITK repeats the last voxel and halves the slope). Slabs `(X, Y, n, D)` (2-D: `(X, n, D)`), world
    mm, must arrive in order along the last axis; two slices are kept from one to the next. `inside` counts voxels of
    `mask`, `everywhere` all.
    """

    def __init__(self, grid: Grid, mask: Image | None) -> None:
        self.grid = grid
        self.mask = mask
        self.inside = FieldStatistics()
        self.everywhere = FieldStatistics()
        self._kept: Tensor | None = None
        self._done = 0

    def add(self, displacement: Tensor, last: bool) -> None:
        """Take in the next slab; `last` says that none follows."""
        axis = self.grid.dimension - 1
        slab = displacement if self._kept is None else torch.cat([self._kept, displacement], dim=axis)
        first = 0 if self._kept is None else self._kept.shape[axis] - 1  # all kept slices but the last are counted
        count = slab.shape[axis] - first - (0 if last else 1)
        if count > 0:
            determinants = self._determinants(slab).narrow(axis, first, count)
            self.everywhere.add(determinants)
            if self.mask is not None:
                self.inside.add(determinants[slab_inside(self.mask, self.grid, self._done, self._done + count)])
            self._done += count
        self._kept = slab.narrow(axis, max(0, slab.shape[axis] - 2), min(2, slab.shape[axis])).clone()

    def _determinants(self, slab: Tensor) -> Tensor:
        """Return `det(I + G A^-1) = det(A + G) / det(A)`, G the slopes from voxel to voxel, A the edges of a voxel."""
        axes = range(self.grid.dimension)
        slopes = [torch.gradient(slab, dim=a)[0] if slab.shape[a] > 1 else torch.zeros_like(slab) for a in axes]
        edges = self.grid.affine[:-1, :-1]
        rows = [[slopes[j][..., i] + float(edges[i, j]) for j in axes] for i in axes]
        return determinant_of_rows(rows) / float(torch.linalg.det(edges))


class PassingInverse:
    """Gather the mean of `|inverse(phi(x)) - x|`, mm, over one in `every` of the points that pass by."""

    def __init__(self, inverse: Transform, every: int) -> None:
        self.inverse = inverse
        self.every = every
        self._skip = 0  # points until the next one that counts
        self._sum, self._count = 0.0, 0

    def add(self, points: Tensor, moved: Tensor, inside: Tensor | None) -> None:
        """Take in points x and phi(x), both `(..., D)`, world mm, that lie `inside` `(...)` (None: all of them)."""
        flat, there = (given.reshape(-1, given.shape[-1]) for given in (points, moved))
        places = torch.arange(len(flat)) if inside is None else inside.reshape(-1).nonzero()[:, 0]
        chosen = places[self._skip :: self.every]  # of large arrays only these few are gathered
        self._skip = (self._skip - len(places)) % self.every
        gaps = (self.inverse(there[chosen]) - flat[chosen]).norm(dim=-1)
        self._sum += float(gaps.sum(dtype=torch.float64))
        self._count += gaps.numel()

    @property
    def mean(self) -> float:
        """The mean so far; 0 before any point."""
        return self._sum / max(self._count, 1)
