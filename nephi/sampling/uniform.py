"""Uniformly random points, off the voxel grid or only at voxel centres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from nephi.geometry import Grid, interpolate_nearest
from nephi.images import Image

SPARSE = 0.01  # fraction of the box that is inside the mask; below it the voxels are listed


class PointSource(Protocol):
    """A region from which world points (mm, RAS) are sampled."""

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Sample `(count, D)` float32 world points."""


class GridPoints:
    """Uniformly distributed points of a whole grid, including half a voxel of border."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Sample `(count, D)` float32 world points."""
        unit = torch.rand(count, self.grid.dimension, generator=generator, dtype=torch.float64)
        return self.grid.voxel_to_world_points(unit * torch.tensor(self.grid.shape, dtype=torch.int64) - 0.5).float()


class MaskPoints:
    """Uniformly distributed points in the voxels of a mask (values above 0), by rejection within their bounding box.

    Memory does not depend on the size of the mask, because its voxels are not listed; they are listed only if they fill
    less than 1 % of the box, where rejection would be slow. Raises `DataError` for an empty mask.
    """

    def __init__(self, mask: Image) -> None:
        box = mask.foreground
        self.mask = mask
        self.low = torch.tensor(box.low, dtype=torch.float64)
        self.extent = torch.tensor(box.high, dtype=torch.float64) - self.low
        self.fraction = box.voxels / float(self.extent.prod())
        self.voxels = (mask.data > 0).nonzero() if self.fraction < SPARSE else None

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Sample `(count, D)` float32 world points."""
        if self.voxels is not None:
            chosen = torch.randint(len(self.voxels), (count,), generator=generator)
            jitter = torch.rand(count, len(self.low), generator=generator, dtype=torch.float64) - 0.5
            return self.mask.grid.voxel_to_world_points(self.voxels[chosen] + jitter).float()
        accepted = [self.low.new_zeros(0, len(self.low))]
        missing = count
        while missing > 0:
            trials = int(1.1 * missing / self.fraction) + 16
            voxel = torch.rand(trials, len(self.low), generator=generator, dtype=torch.float64)
            voxel.mul_(self.extent).add_(self.low).sub_(0.5)  # in place, because a million points are sampled at a time
            voxel = voxel[interpolate_nearest(self.mask.data, voxel) > 0][:missing]
            accepted.append(voxel)
            missing -= len(voxel)
        return self.mask.grid.voxel_to_world_points(torch.cat(accepted)).float()


class VoxelCentres:
    """Random voxel centres of `grid`: the points of another source, each moved to the centre of its voxel."""

    def __init__(self, source: PointSource, grid: Grid) -> None:
        self.source = source
        self.grid = grid
        self.last = torch.tensor(grid.shape, dtype=torch.float64) - 1

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Sample `(count, D)` float32 world points."""
        voxel = self.grid.world_to_voxel_points(self.source.draw(count, generator).double()).round()
        return self.grid.voxel_to_world_points(voxel.clamp(min=0).minimum(self.last)).float()


def point_source(image: Image, mask: Image | None) -> PointSource:
    """Return the points of the mask, or without one those of the whole grid."""
    return GridPoints(image.grid) if mask is None else MaskPoints(mask)


def window_offsets(shape: Sequence[int], sigma: float, generator: torch.Generator) -> Tensor:
    """Sample offsets `shape` of a Gaussian window of standard deviation `sigma`, cut at 2 `sigma` along each axis.

    The mean of a function over the offsets estimates its Gaussian-weighted mean in the window.
    """
    tail = 0.5 * math.erfc(2 / math.sqrt(2))
    quantiles = tail + (1 - 2 * tail) * torch.rand(*shape, generator=generator, dtype=torch.float64)
    return (sigma * torch.special.ndtri(quantiles)).float()


def patch_offsets(dimension: int, radius: int, spacing: float) -> Tensor:
    """Return the offsets `((2 r + 1)^D, D)` in mm of a cubic patch; the last axis varies fastest."""
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32) * spacing
    return torch.cartesian_prod(*[steps] * dimension).reshape(-1, dimension)
