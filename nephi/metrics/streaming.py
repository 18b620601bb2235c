"""Measures of a dense displacement field, computed slab by slab while it is written."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import Grid, PointMap, determinant_of_rows
from nephi.images import Image
from nephi.metrics.regularity import FoldingStatistics, Regularity, slab_inside
from nephi.transforms import Transform

FoldingPair = tuple[FoldingStatistics, FoldingStatistics]
"""Statistics of all voxels of a part, and of those in the mask."""


@dataclass(frozen=True, eq=False)
class FieldPart:
    """Slices `start:stop` of a field, which are those from `first` on of `slab`, where their neighbours are as well."""

    slab: Tensor
    first: int
    start: int
    stop: int


class StreamingFoldingStatistics:
    """Accumulate folding statistics over the slabs of a displacement field, without holding the whole field in memory.

    Determinants come from finite differences between voxels: central as in the tools that read the file, one-sided at
    the border (where ITK repeats the last voxel and halves the slope). Slabs `(X, Y, n, D)` (2-D: `(X, n, D)`), world
    mm, must be added in order along the last axis; two slices are kept from one slab to the next. `inside_mask` counts
    voxels of `mask`, `whole_grid` all voxels. With a `handedness` of -1 the map reflects, and determinants are those
    relative to a reflection.
    """

    def __init__(self, grid: Grid, mask: Image | None, handedness: int = 1) -> None:
        self.grid = grid
        self.handedness = handedness
        self.mask = mask
        self.inside_mask = FoldingStatistics()
        self.whole_grid = FoldingStatistics()
        self._kept_slices: Tensor | None = None
        self._counted_slices = 0

    def add(self, displacement: Tensor, last: bool) -> None:
        """Add the next slab; `last` marks the final one."""
        self.include(self.measure(self.next_part(displacement, last)))

    def next_part(self, displacement: Tensor, last: bool) -> FieldPart:
        """Return what can be measured once the next slab is known; `last` marks the final one."""
        axis = self.grid.dimension - 1
        kept = self._kept_slices
        slab = displacement if kept is None else torch.cat([kept, displacement], dim=axis)
        # Of the kept slices only the last is still to be counted: its upper neighbour was missing.
        first = 0 if kept is None else kept.shape[axis] - 1
        start, count = self._counted_slices, slab.shape[axis] - first - (0 if last else 1)
        self._counted_slices += count
        self._kept_slices = slab.narrow(axis, max(0, slab.shape[axis] - 2), min(2, slab.shape[axis])).clone()
        return FieldPart(slab, first, start, start + count)

    def measure(self, part: FieldPart) -> FoldingPair:
        """Return the statistics of a part, of all its voxels and of those in the mask, without adding them.

        Several threads may measure different parts at the same time.
        """
        whole_grid, inside_mask = FoldingStatistics(), FoldingStatistics()
        if part.stop > part.start:
            axis = self.grid.dimension - 1
            determinants = self._determinants(part.slab).narrow(axis, part.first, part.stop - part.start)
            whole_grid.add(determinants)
            if self.mask is not None:
                inside_mask.add(determinants[slab_inside(self.mask, self.grid, part.start, part.stop)])
        return whole_grid, inside_mask

    def include(self, statistics: FoldingPair) -> None:
        """Add what `measure` returned for the next part."""
        self.whole_grid.include(statistics[0])
        self.inside_mask.include(statistics[1])

    def _determinants(self, slab: Tensor) -> Tensor:
        """Return `det(I + G A^-1) = det(A + G) / det(A)`: G the differences between voxels, A the edges of a voxel."""
        axes = range(self.grid.dimension)
        slopes = [torch.gradient(slab, dim=a)[0] if slab.shape[a] > 1 else torch.zeros_like(slab) for a in axes]
        edges = self.grid.affine[:-1, :-1]
        rows = [[slopes[j][..., i] + float(edges[i, j]) for j in axes] for i in axes]
        return determinant_of_rows(rows) / (self.handedness * float(torch.linalg.det(edges)))


@torch.no_grad()
def field_regularity(transform: Transform, grid: Grid, mask: Image | None = None) -> Regularity:
    """Return folding statistics of the displacement field of `transform` on `grid` (inside `mask`, on any grid).

    They are those of the file that a registration writes, so that they agree with its report. Determinants are relative
    to an intended reflection (`Transform.unfolded_sign`). Raises `DataError` when no voxel centre remains.
    """
    statistics = StreamingFoldingStatistics(grid, mask, transform.unfolded_sign)
    for start, stop in grid.slabs():
        points = grid.voxel_centres(start, stop)
        statistics.add(transform(points) - points, last=stop == grid.shape[-1])
    result = (statistics.whole_grid if mask is None else statistics.inside_mask).result()
    if result.points == 0:
        raise DataError("regularity: expected at least one voxel to evaluate, found none: is the mask empty?")
    return result


class StreamingInverseError:
    """Accumulate the mean and the maximum of `|inverse(phi(x)) - x|`, mm, over one of every `stride` points."""

    def __init__(self, inverse: PointMap, stride: int) -> None:
        self.inverse = inverse
        self.stride = stride
        self._skip = 0  # points before the next one that is measured
        self._sum, self._count = 0.0, 0
        self.maximum = 0.0  # mm, of the points added so far

    def add(self, points: Tensor, displaced: Tensor, inside: Tensor | None) -> None:
        """Add points x and phi(x), both `(..., D)`, world mm, where `inside` `(...)` is true (None: all points)."""
        self.include(self.measure(self.next_points(points, displaced, inside)))

    def next_points(self, points: Tensor, displaced: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return those of the next points, as those of `add`, that are measured: x and phi(x), `(N, D)`."""
        points, displaced = (tensor.reshape(-1, tensor.shape[-1]) for tensor in (points, displaced))
        indices = torch.arange(len(points)) if inside is None else inside.reshape(-1).nonzero()[:, 0]
        measured = indices[self._skip :: self.stride]  # gathering only these few saves memory
        self._skip = (self._skip - len(indices)) % self.stride
        return points[measured], displaced[measured]

    def measure(self, pairs: tuple[Tensor, Tensor]) -> Tensor:
        """Return the errors `(N,)`, mm, of points x and phi(x); several threads may measure different points."""
        points, displaced = pairs
        return (self.inverse(displaced) - points).norm(dim=-1)

    def include(self, errors: Tensor) -> None:
        """Add what `measure` returned for the next points."""
        self._sum += float(errors.sum(dtype=torch.float64))
        self._count += errors.numel()
        self.maximum = max(self.maximum, float(errors.max())) if errors.numel() else self.maximum

    @property
    def mean(self) -> float:
        """The mean error of the points added so far, mm; 0 before any point."""
        return self._sum / max(self._count, 1)
