"""Uniformly random points between the voxels."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import Grid, lookup_nearest
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
        return self.grid.voxel_to_world_points(shares * torch.tensor(self.grid.shape) - 0.5).float()


class MaskPoints:
    """Points spread uniformly over the voxels of a mask (values above 0), by rejection within their box.

    Needs no list of voxels, so that memory does not depend on the mask's size; only where voxels fill less than a
    hundredth of their box they are listed, as rejection would draw without end. Raises `DataError` for an empty mask.
    """

    def __init__(self, mask: Image) -> None:
        inside = mask.data > 0
        spans = []
        for axis in range(mask.dimension):
            others = [a for a in range(mask.dimension) if a != axis]
            hit = inside.amax(dim=others).nonzero()
            if len(hit) == 0:
                raise DataError(f"{mask.name}: expected a mask with voxels above 0, found an empty one")
            spans.append((int(hit[0]), int(hit[-1]) + 1))
        self.mask = mask
        self.low = torch.tensor([float(a) for a, _ in spans], dtype=torch.float64)
        self.extent = torch.tensor([float(b - a) for a, b in spans], dtype=torch.float64)
        self.share = float(inside.sum()) / float(self.extent.prod())
        self.voxels = inside.nonzero() if self.share < SPARSE else None

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return `(count, D)` float32 world points."""
        if self.voxels is not None:
            chosen = torch.randint(len(self.voxels), (count,), generator=generator)
            jitter = torch.rand(count, len(self.low), generator=generator, dtype=torch.float64) - 0.5
            return self.mask.grid.voxel_to_world_points(self.voxels[chosen] + jitter).float()
        found = [self.low.new_zeros(0, len(self.low))]
        missing = count
        while missing > 0:
            trial = torch.rand(
                int(1.1 * missing / self.share) + 16, len(self.low), generator=generator, dtype=torch.float64
            )
            voxel = self.low + trial * self.extent - 0.5
            voxel = voxel[lookup_nearest(self.mask.data, voxel) > 0][:missing]
            found.append(voxel)
            missing -= len(voxel)
        return self.mask.grid.voxel_to_world_points(torch.cat(found)).float()


def patch_offsets(dimension: int, radius: int, spacing: float) -> Tensor:
    """Return the offsets `((2 r + 1)^D, D)` in mm of a cubic patch, first axis slowest."""
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32) * spacing
    return torch.cartesian_prod(*[steps] * dimension).reshape(-1, dimension)
