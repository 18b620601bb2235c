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
    check_filter_count,
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
    final: channels of one or more convolutions at that resolution, after those of the coarser ones; empty for one with
        as many channels as in `filters`. VoxelMorph's network is filters = [16, 32, 32, 32, 32], final = [32, 16, 16],
        normalized = false.
    normalized: whether features are normalised, in groups of channels of one pair.
    """

    table: ClassVar[str] = "model.unet"

    filters: tuple[int, ...] = (16, 32, 32, 64, 64)
    finest: int = 0
    final: tuple[int, ...] = ()
    normalized: bool = True

    def __post_init__(self) -> None:
        check_filter_count(f"{self.table}.filters", self.filters, least=2)
        if not 0 <= self.finest < len(self.filters) - 1:
            raise UsageError(
                f"{self.table}.finest: expected 0 to {len(self.filters) - 2}, an index of {self.table}.filters before "
                f"the last, got {self.finest}"
            )
        if len(self.final) > MOST_RESOLUTIONS or min(self.final, default=1) < 1:
            raise UsageError(
                f"{self.table}.final: expected positive integers, at most {MOST_RESOLUTIONS}, got "
                f"{short_repr(self.final)}"
            )


class UNet(nn.Module):
    """Predicts vectors `(B, D, *lattice.shape)`, world mm, from images `(B, 1, *shape)` on `grid`; at first all zero.

    The form of VoxelMorph (Balakrishnan et al., TMI 2019); its group normalisation does not mix pairs. `lattice` holds
    the points of the vectors: `grid`, or every 2nd, 4th, ... voxel of it. `bias` is that of the last layer; differences
    of two predictions do not depend on it.

    The network computes tenths of the edges of `grid`, from the first voxel centre to the last, as ICON's networks do
    (Greer et al., ICCV 2021): Adam's published step sizes then move points by the same part of the image at every
    resolution. Vectors in voxels train more slowly already at 32 x 32 pixels, where a tenth of an edge is only three
    of them: hollow shapes correlate with 0.41 instead of 0.47 after 200 steps of size 1e-4, with 0.53 instead of 0.55
    at 1e-3.
    """

    axes: Tensor

    def __init__(self, settings: UNetSettings, grid: Grid, generator: torch.Generator, bias: bool = True) -> None:
        super().__init__()
        d, filters, finest, normalized = grid.dimension, settings.filters, settings.finest, settings.normalized
        if normalized:
            shapes = [halved(grid.shape, level) for level in range(len(filters))]
            check_filters(f"{settings.table}.filters", filters, shapes)
            check_filters(f"{settings.table}.final", settings.final, [shapes[finest]] * len(settings.final))
        self.grid = grid
        self.lattice = every_voxel(grid, finest)
        self.first = block(d, 2, filters[0], 1, normalized)
        self.down = nn.ModuleList(block(d, before, after, 2, normalized) for before, after in pairwise(filters))
        self.up = nn.ModuleList(block(d, before, after, 1, normalized) for before, after in _up(settings))
        self.final = nn.Sequential(*[block(d, *channels, 1, normalized) for channels in pairwise(settings.final)])
        self.last = convolution(d)(_last(settings), d, 3, padding=1, bias=bias, dtype=torch.float32)
        self.mode = "bilinear" if d == 2 else "trilinear"
        self.register_buffer("axes", tenths_of_edges(grid).float(), persistent=False)
        initialise(self, generator)
        with torch.no_grad():
            self.last.weight.zero_()

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Predict the vectors, mm (RAS components)."""
        skipped = [self.first(torch.cat([fixed, moving], dim=1))]
        for level in self.down:
            skipped.append(level(skipped[-1]))
        features = skipped.pop()
        for level in self.up:
            finer = skipped.pop()
            features = nn.functional.interpolate(features, size=finer.shape[2:], mode=self.mode, align_corners=False)
            features = level(torch.cat([features, finer], dim=1))
        vectors = self.last(self.final(features))
        return torch.einsum("ij,bj...->bi...", self.axes, vectors).to(fixed.dtype)


def unet_size(settings: UNetSettings, grid: Grid, bias: bool = True) -> tuple[int, int]:
    """Compute the number of parameters of a `UNet`, and the bytes that a prediction allocates in it."""
    d, filters, finest = grid.dimension, settings.filters, settings.finest
    blocks = [(2, filters[0]), *pairwise(filters), *_up(settings), *pairwise(settings.final)]
    parameters = sum(block_parameters(d, before, after, settings.normalized) for before, after in blocks)
    parameters += (3**d * _last(settings) + bias) * d
    features = sum(count * math.prod(halved(grid.shape, level)) for level, count in enumerate(filters))
    features += sum(settings.final) * math.prod(halved(grid.shape, finest))
    return parameters, BYTES_PER_FEATURE * features


def _up(settings: UNetSettings) -> list[tuple[int, int]]:
    """Return the channels before and after each convolution of the expanding path, the coarsest first."""
    widths = [*reversed(settings.filters[settings.finest + 1 :]), (settings.final or (_last(settings),))[0]]
    skipped = reversed(settings.filters[settings.finest : -1])
    return [(before + skip, after) for (before, after), skip in zip(pairwise(widths), skipped, strict=True)]


def _last(settings: UNetSettings) -> int:
    """Return the number of channels from which the vectors are computed."""
    return settings.final[-1] if settings.final else settings.filters[settings.finest]


def tenths_of_edges(grid: Grid) -> Tensor:
    """Return a tenth of each edge of the grid, from the first voxel centre to the last, as columns `(D, D)`, mm."""
    return grid.affine[:-1, :-1] * (torch.tensor([max(n - 1, 1) for n in grid.shape], dtype=torch.float64) / 10)


def every_voxel(grid: Grid, halvings: int) -> Grid:
    """Return the voxels of `grid` at which the features lie after so many convolutions of stride 2, from the first."""
    scale = torch.tensor([*[2.0**halvings] * grid.dimension, 1.0], dtype=torch.float64)
    return Grid(halved(grid.shape, halvings), grid.affine @ torch.diag(scale))
