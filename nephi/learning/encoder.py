"""From a pair of images to latent codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.learning.blocks import SLOPE, block, convolution, initialise


@dataclass(frozen=True)
class EncoderSettings:
    """A stack of convolutions, each of which halves the resolution.

    filters: channels of each; local_level: how many of them lie before the map that the local codes are read from (3:
        at an eighth of the resolution); pooled: cells along each axis to which the coarsest map is averaged for the
        global code; features: width of the layer between these and the code.
    """

    filters: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    local_level: int = 3
    pooled: int = 4
    features: int = 256

    def __post_init__(self) -> None:
        if not self.filters or min([*self.filters, self.pooled, self.features]) < 1:
            found = f"{self.filters}, {self.pooled} and {self.features}"
            raise UsageError(f"encoder: expected filters, pooled and features of 1 or more, got {found}")
        if not 1 <= self.local_level <= len(self.filters):
            raise UsageError(
                f"encoder.local_level: expected 1 to {len(self.filters)}, as there are filters, got {self.local_level}"
            )


class PairEncoder(nn.Module):
    """Predict the global code and the local codes of a pair (NePhi's encoder; Tian et al., ECCV 2024).

    Images `(B, 1, *shape)` of any shape, fixed and moving on one grid. The global code `(B, global_codes)` comes from
    the coarsest map, averaged over a few cells that tell where things are. The local codes `(B, rows, local_codes)`
    come from a finer map, to which the coarser ones are added so that it knows of the whole image, resampled to the
    nodes of `lattice`, in the order of `LatentGrids` (last axis fastest).
    """

    def __init__(
        self,
        settings: EncoderSettings,
        lattice: Sequence[int],
        global_codes: int,
        local_codes: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.lattice = tuple(lattice)
        dimension = len(self.lattice)
        layer = convolution(dimension)
        widths = [2, *settings.filters]
        self.levels = nn.ModuleList(block(dimension, before, after, stride=2) for before, after in pairwise(widths))
        width = settings.filters[settings.local_level - 1]
        coarser = settings.filters[settings.local_level :] if local_codes else ()
        self.context = nn.ModuleList(layer(filters, width, 1) for filters in coarser)
        self.local = (
            nn.Sequential(layer(width, width, 3, padding=1), nn.LeakyReLU(SLOPE), layer(width, local_codes, 1))
            if local_codes
            else None
        )
        self.everywhere = (
            nn.Sequential(
                nn.Linear(settings.filters[-1] * settings.pooled**dimension, settings.features),
                nn.LeakyReLU(SLOPE),
                nn.Linear(settings.features, global_codes),
            )
            if global_codes
            else None
        )
        initialise(self, generator)

    def forward(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the global codes and, where there are any, the local codes."""
        features = torch.cat([fixed, moving], dim=1)
        maps = []
        for level in self.levels:
            features = level(features)
            maps.append(features)
        local = None if self.local is None else self._local(maps[self.settings.local_level - 1 :])
        return self._everywhere(maps[-1]), local

    def _everywhere(self, coarsest: Tensor) -> Tensor:
        if self.everywhere is None:
            return coarsest.new_zeros(len(coarsest), 0)
        pool = nn.functional.adaptive_avg_pool2d if len(self.lattice) == 2 else nn.functional.adaptive_avg_pool3d
        codes: Tensor = self.everywhere(pool(coarsest, self.settings.pooled).flatten(1))
        return codes

    def _local(self, maps: list[Tensor]) -> Tensor:
        assert self.local is not None
        features, *coarser = maps
        for layer, context in zip(self.context, coarser, strict=True):
            features = features + self._resampled(layer(context), features.shape[2:])
        return self._resampled(self.local(features), self.lattice).flatten(2).transpose(1, 2)

    def _resampled(self, features: Tensor, shape: Sequence[int]) -> Tensor:
        mode = "bilinear" if len(self.lattice) == 2 else "trilinear"
        return nn.functional.interpolate(features, size=tuple(shape), mode=mode, align_corners=True)
