"""The U-Net: a vector for every voxel of two images, or for every voxel of a coarser resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.networks.blocks import (
    BYTES_PER_FEATURE,
    MOST_RESOLUTIONS,
    block,
    block_parameters,
    check_filters,
    convolution,
    halved,
    initialise,
)
from nephi.tables import short_repr


@dataclass(frozen=True)
class UNetSettings:
    """A contracting and an expanding path of convolutions.

    filters: channels at each resolution, the finest first; each resolution is half of the one before.
    finest: index in `filters`, from 0, of the resolution at which the vectors are predicted: 0 is that of the images,
        1 half of it. At 0 this resolution takes most of the computing time.
    """

    table: ClassVar[str] = "model.unet"

    filters: tuple[int, ...] = (16, 32, 32, 64, 64)
    finest: int = 0

    def __post_init__(self) -> None:
        if not 2 <= len(self.filters) <= MOST_RESOLUTIONS or min(self.filters) < 1:
            raise UsageError(
                f"{self.table}.filters: expected at least two positive integers, at most {MOST_RESOLUTIONS}, got "
                f"{short_repr(self.filters)}"
            )
        if not 0 <= self.finest < len(self.filters) - 1:
            raise UsageError(
                f"{self.table}.finest: expected 0 to {len(self.filters) - 2}, an index of {self.table}.filters before "
                f"the last, got {self.finest}"
            )


class UNet(nn.Module):
    """Predicts vectors `(B, D, *lattice.shape)`, world mm, from images `(B, 1, *shape)` on `grid`; at first all zero.

    The form of VoxelMorph (Balakrishnan et al., TMI 2019) with group normalisation, which does not mix pairs. `lattice`
    holds the points of the vectors: `grid`, or every 2nd, 4th, ... voxel of it. `bias` is that of the last layer;
    differences of two predictions do not depend on it.
    """

    axes: Tensor

    def __init__(self, settings: UNetSettings, grid: Grid, generator: torch.Generator, bias: bool = True) -> None:
        super().__init__()
        d, filters, finest = grid.dimension, settings.filters, settings.finest
        shapes = [halved(grid.shape, level) for level in range(len(filters))]
        check_filters(f"{settings.table}.filters", filters, shapes)
        self.grid = grid
        self.lattice = every_voxel(grid, finest)
        self.first = block(d, 2, filters[0], stride=1)
        self.down = nn.ModuleList(block(d, fine, coarse, stride=2) for fine, coarse in pairwise(filters))
        up = pairwise(filters[: finest - 1 if finest else None : -1])
        self.up = nn.ModuleList(block(d, coarse + fine, fine, stride=1) for coarse, fine in up)
        self.last = convolution(d)(filters[finest], d, 3, padding=1, bias=bias, dtype=torch.float32)
        self.mode = "bilinear" if d == 2 else "trilinear"
        self.register_buffer("axes", grid.affine[:-1, :-1].float(), persistent=False)  # of voxels, mm
        initialise(self, generator)
        with torch.no_grad():
            self.last.weight.zero_()

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Predict the vectors: voxels of `grid` inside the network, mm (RAS components) in the result."""
        skipped = [self.first(torch.cat([fixed, moving], dim=1))]
        for level in self.down:
            skipped.append(level(skipped[-1]))
        features = skipped.pop()
        for level in self.up:
            finer = skipped.pop()
            features = nn.functional.interpolate(features, size=finer.shape[2:], mode=self.mode, align_corners=False)
            features = level(torch.cat([features, finer], dim=1))
        return torch.einsum("ij,bj...->bi...", self.axes, self.last(features)).to(fixed.dtype)


def unet_size(settings: UNetSettings, grid: Grid, bias: bool = True) -> tuple[int, int]:
    """Compute the number of parameters of a `UNet`, and the bytes that a prediction allocates in it."""
    d, filters, finest = grid.dimension, settings.filters, settings.finest
    parameters = block_parameters(d, 2, filters[0]) + (3**d * filters[finest] + bias) * d
    for level, (fine, coarse) in enumerate(pairwise(filters)):
        parameters += block_parameters(d, fine, coarse)
        if level >= finest:
            parameters += block_parameters(d, fine + coarse, fine)
    features = sum(count * math.prod(halved(grid.shape, level)) for level, count in enumerate(filters))
    return parameters, BYTES_PER_FEATURE * features


def every_voxel(grid: Grid, halvings: int) -> Grid:
    """Return the voxels of `grid` at which the features lie after so many convolutions of stride 2, from the first."""
    scale = torch.tensor([*[2.0**halvings] * grid.dimension, 1.0], dtype=torch.float64)
    return Grid(halved(grid.shape, halvings), grid.affine @ torch.diag(scale))
