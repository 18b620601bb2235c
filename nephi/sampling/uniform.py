"""Uniformly random points between the voxels."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from nephi.geometry import Grid, interpolate_nearest
from nephi.images import Image

SPARSE = 0.01  # share of the box


class PointSource(Protocol):
    """Draws world points (mm, RAS)."""

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return `(count, D)` float32 world points."""


class GridPoints:
    """Points spread uniformly over the whole lattice, half a voxel of border included."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return `(count, D)` float32 world points."""
        shares = torch.rand(count, self.grid.dimension, generator=generator, dtype=torch.float64)
        return self.grid.voxel_to_world_points(shares * torch.tensor(self.grid.shape, dtype=torch.int64) - 0.5).float()


class MaskPoints:
    """Points spread uniformly over the voxels of a mask (values above 0), by rejection within their box.

    Needs no list of voxels, so that memory does not depend on the mask's size; only where voxels fill less than a
    hundredth of their box they are listed, as rejection would draw without end. Raises `DataError` for an empty mask.
    """

    def __init__(self, mask: Image) -> None:
        box = mask.foreground
        self.mask = mask
        self.low = torch.tensor(box.low, dtype=torch.float64)
        self.extent = torch.tensor(box.high, dtype=torch.float64) - self.low
        self.share = box.voxels / float(self.extent.prod())
        self.voxels = (mask.data > 0).nonzero() if self.share < SPARSE else None

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return `(count, D)` float32 world points."""
        if self.voxels is not None:
            chosen = torch.randint(len(self.voxels), (count,), generator=generator)
            jitter = torch.rand(count, len(self.low), generator=generator, dtype=torch.float64) - 0.5
            return self.mask.grid.voxel_to_world_points(self.voxels[chosen] + jitter).float()
        found = [self.low.new_zeros(0, len(self.low))]
        missing = count
        while missing > 0:
            trials = int(1.1 * missing / self.share) + 16
            voxel = torch.rand(trials, len(self.low), generator=generator, dtype=torch.float64)
            voxel.mul_(self.extent).add_(self.low).sub_(0.5)  # in place: a million points a time are drawn
            voxel = voxel[interpolate_nearest(self.mask.data, voxel) > 0][:missing]
            found.append(voxel)
            missing -= len(voxel)
        return self.mask.grid.voxel_to_world_points(torch.cat(found)).float()


def point_source(image: Image, mask: Image | None) -> PointSource:
    """Return where points of an image are drawn: in its mask, or everywhere."""
    return GridPoints(image.grid) if mask is None else MaskPoints(mask)


def patch_offsets(dimension: int, radius: int, spacing: float) -> Tensor:
    """Return the offsets `((2 r + 1)^D, D)` in mm of a cubic patch, first axis slowest."""
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32) * spacing
    return torch.cartesian_prod(*[steps] * dimension).reshape(-1, dimension)
