"""From a pair of images to latent values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.fields import LatentBatch
from nephi.models.blocks import SLOPE, block, convolution, initialise
from nephi.models.forces import forces


@dataclass(frozen=True)
class EncoderSettings:
    """A stack of convolutions, each of which halves the resolution, and one back up as far as the finest lattice.

    filters: channels at each resolution, the first at half of the images'.
    finest: number (from 0) of the finest one on the way back up, which serves the lattices finer than it, too; at 0
        most of the work is spent there.
    pooled: cells along each axis to which the coarsest map is averaged for the global code.
    features: width of the layer between these and the code.
    forces: show the first convolution the demons' forces of the two images as well, what a voxel alone can tell of its
        motion: learning begins sooner.
    """

    filters: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    finest: int = 0
    pooled: int = 4
    features: int = 256
    forces: bool = False

    def __post_init__(self) -> None:
        if not self.filters or min([*self.filters, self.pooled, self.features]) < 1:
            found = f"{self.filters}, {self.pooled} and {self.features}"
            raise UsageError(f"encoder: expected filters, pooled and features of 1 or more, got {found}")
        if not 0 <= self.finest < len(self.filters):
            raise UsageError(
                f"encoder.finest: expected 0 to {len(self.filters) - 1}, as there are filters, got {self.finest}"
            )


@dataclass(frozen=True)
class Lattice:
    """Nodes of a latent grid along each axis, and channels at each."""

    shape: tuple[int, ...]
    channels: int


class PairEncoder(nn.Module):
    """Predict the latent values of a pair, from images on a grid of `shape`.

    After NePhi's encoder (Tian et al., ECCV 2024), with the way back up of a U-Net, so that what is told to one place
    knows of the whole image. The global code comes from the coarsest map, averaged over a few cells that tell where
    things are; the values of a lattice from the coarsest map that has as many cells as it has nodes, resampled to its
    nodes, in the order of `LatentGrids` (last axis fastest).
    """

    def __init__(
        self,
        settings: EncoderSettings,
        shape: Sequence[int],
        global_codes: int,
        lattices: Sequence[Sequence[Lattice]],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.lattices = tuple(tuple(levels) for levels in lattices)
        d = len(shape)
        filters = settings.filters
        self.mode = "bilinear" if d == 2 else "trilinear"
        shown = 2 + d if settings.forces else 2
        self.down = nn.ModuleList(block(d, before, after, stride=2) for before, after in pairwise([shown, *filters]))
        every = [lattice for levels in self.lattices for lattice in levels]
        self.level_of = {each: max(settings.finest, _level(each.shape, shape, len(filters))) for each in every}
        finest = min(self.level_of.values(), default=len(filters) - 1)
        self.up = nn.ModuleList(
            block(d, filters[k + 1] + filters[k], filters[k], stride=1)
            for k in reversed(range(finest, len(filters) - 1))
        )
        self.heads = nn.ModuleList(
            convolution(d)(filters[self.level_of[lattice]], lattice.channels, 3, padding=1, dtype=torch.float32)
            for lattice in every
        )
        self.everywhere = (
            nn.Sequential(
                nn.Linear(filters[-1] * settings.pooled**d, settings.features, dtype=torch.float32),
                nn.LeakyReLU(SLOPE),
                nn.Linear(settings.features, global_codes, dtype=torch.float32),
            )
            if global_codes
            else None
        )
        initialise(self, generator)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> LatentBatch:
        """Return the latent values for images `(B, 1, *shape)`, of this shape or another, of any pairs."""
        parts = [fixed, moving, *([forces(fixed, moving)] if self.settings.forces else [])]
        features = torch.cat(parts, dim=1)
        maps = []
        for down in self.down:
            features = down(features)
            maps.append(features)
        everywhere = self._everywhere(maps[-1])
        for k, up in zip(reversed(range(len(maps) - 1)), self.up, strict=False):
            maps[k] = up(torch.cat([self._resampled(maps[k + 1], maps[k].shape[2:]), maps[k]], dim=1))
        heads = iter(self.heads)
        tables = []
        for levels in self.lattices:
            values = [self._resampled(next(heads)(maps[self.level_of[each]]), each.shape) for each in levels]
            tables.append(torch.cat([v.flatten(2).transpose(1, 2) for v in values], dim=1))
        return LatentBatch(everywhere, tables)

    def _everywhere(self, coarsest: Tensor) -> Tensor:
        if self.everywhere is None:
            return coarsest.new_zeros(len(coarsest), 0)
        pool = nn.functional.adaptive_avg_pool2d if coarsest.ndim == 4 else nn.functional.adaptive_avg_pool3d
        codes: Tensor = self.everywhere(pool(coarsest, self.settings.pooled).flatten(1))
        return codes

    def _resampled(self, features: Tensor, shape: Sequence[int]) -> Tensor:
        if tuple(features.shape[2:]) == tuple(shape):
            return features
        return nn.functional.interpolate(features, size=tuple(shape), mode=self.mode, align_corners=True)


def _level(nodes: Sequence[int], shape: Sequence[int], levels: int) -> int:
    """Return the coarsest level whose map of an image of `shape` has `nodes` cells or more along each axis, or 0."""
    level = 0
    cells = [-(-n // 2) for n in shape]
    while level + 1 < levels and all(-(-c // 2) >= n - 1 for c, n in zip(cells, nodes, strict=True)):
        cells = [-(-c // 2) for c in cells]
        level += 1
    return level
