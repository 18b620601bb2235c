"""Regularity of a transform: folding and variation of volume, from Jacobian determinants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from nephi.argument_types import checked
from nephi.errors import DataError
from nephi.geometry import Grid, determinant, interpolate_nearest
from nephi.images import Image
from nephi.io import GridLike, as_grid
from nephi.runtime import caller_threads
from nephi.transforms import Transform


class Determinants(Protocol):
    """A tensor or an array of real numbers."""

    def __le__(self, other: float, /) -> Any:
        """Compare every element."""


@dataclass(frozen=True)
class Regularity:
    """Percentage of points with `det J <= 0`, standard deviation of `log det J`, smallest `det J`, number of points."""

    folding_percent: float
    sd_log_jacobian: float
    smallest: float
    points: int


def is_folded(determinants: Determinants) -> Any:
    """Return whether a transform folds where its Jacobian has these determinants: `det J <= 0`.

    A bool tensor or array, as the determinants are one; false for NaN.
    """
    return determinants <= 0


@dataclass
class FoldingStatistics:
    """Folding statistics accumulated over batches of Jacobian determinants."""

    count: int = 0
    folded: int = 0
    smallest: float = field(default=float("inf"))
    total: float = 0.0
    squares: float = 0.0

    def add(self, determinants: Tensor) -> None:
        """Add determinants of any shape; below 1e-9, at folds above all, the logarithm is that of 1e-9."""
        if determinants.numel() == 0:
            return
        logs = determinants.double().clamp(min=1e-9).log()
        self.count += determinants.numel()
        self.folded += int(is_folded(determinants).sum())
        self.smallest = min(self.smallest, float(determinants.min()))
        self.total += float(logs.sum())
        self.squares += float(logs.square().sum())

    def include(self, other: FoldingStatistics) -> None:
        """Add the determinants of other statistics."""
        self.count += other.count
        self.folded += other.folded
        self.smallest = min(self.smallest, other.smallest)
        self.total += other.total
        self.squares += other.squares

    def result(self) -> Regularity:
        """Return the statistics of all determinants added so far; those of the identity where there are none."""
        if self.count == 0:
            return Regularity(0.0, 0.0, 1.0, 0)
        mean = self.total / self.count
        variance = max(0.0, self.squares / self.count - mean**2)
        return Regularity(100 * self.folded / self.count, variance**0.5, self.smallest, self.count)


def regularity(transform: Transform, grid: Grid, mask: Image | None = None) -> Regularity:
    """Return folding statistics of the transform's own Jacobian at the voxel centres of `grid` (inside `mask`).

    Determinants are relative to an intended reflection (`Transform.unfolded_sign`).
    Raises `DataError` when no voxel centre remains.
    """
    statistics = FoldingStatistics()
    for points in voxel_centres_inside(grid, mask):
        with torch.no_grad():
            _, jacobian = transform.value_and_jacobian(points)
        statistics.add(transform.unfolded_sign * determinant(jacobian))
    if statistics.count == 0:
        raise DataError("regularity: expected at least one voxel to evaluate, found none: is the mask empty?")
    return statistics.result()


def voxel_centres_inside(grid: Grid, mask: Image | None) -> Iterator[Tensor]:
    """Yield the voxel centres `(N, D)` of `grid` slab by slab, only those inside `mask` (on any grid) if given."""
    for start, stop in grid.slabs():
        points = grid.voxel_centres(start, stop).reshape(-1, grid.dimension)
        yield points if mask is None else points[inside_mask(mask, points)]


def inside_mask(mask: Image, points: Tensor) -> Tensor:
    """Return a bool tensor `(...)`: whether the voxel of `mask` nearest to each world point `(..., D)` is above 0."""
    voxel = mask.grid.world_to_voxel_points(points)
    return (interpolate_nearest(mask.data, voxel) > 0) & mask.grid.contains_voxel_points(voxel)


def slab_inside(mask: Image, grid: Grid, start: int, stop: int) -> Tensor:
    """Return `inside_mask` at the voxel centres of slices `start:stop` of the last axis of `grid`."""
    if mask.grid.same_as(grid):
        return mask.data[..., start:stop] > 0
    return inside_mask(mask, grid.voxel_centres(start, stop))


@checked
@caller_threads()
@torch.no_grad()
def jacobian_image(transform: Transform, grid: GridLike) -> Image:
    """Return an image of the Jacobian determinant (float32) at every voxel centre of `grid`, or of an image's grid.

    Determinants are relative to an intended reflection (`Transform.unfolded_sign`).
    """
    grid = as_grid(grid)
    slabs = [
        determinant(transform.value_and_jacobian(grid.voxel_centres(start, stop))[1]) for start, stop in grid.slabs()
    ]
    return Image(transform.unfolded_sign * torch.cat(slabs, dim=-1), grid, name="Jacobian determinant")
