"""From a pair of images to latent codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from nephi.errors import UsageError

SLOPE = 0.2  # of LeakyReLU, as in NePhi
GROUP = 8  # channels that are normalised together: statistics of one pair, so that a batch of 1 works


@dataclass(frozen=True)
class EncoderSettings:
    """A stack of convolutions, each of which halves the resolution.

    filters: channels of each; local_level: how many of them lie before the map that the local codes are read from (3:
        at an eighth of the resolution); features: width of the layer between the coarsest map and the global code.
    """

    filters: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    local_level: int = 3
    features: int = 256

    def __post_init__(self) -> None:
        if not self.filters or min(self.filters) < 1 or self.features < 1:
            raise UsageError(
                f"encoder: expected filters and features of 1 or more, got {self.filters}, {self.features}"
            )
        if not 1 <= self.local_level <= len(self.filters):
            raise UsageError(
                f"encoder.local_level: expected 1 to {len(self.filters)}, as there are filters, got {self.local_level}"
            )


class PairEncoder(nn.Module):
    """Predict the global code and the local codes of a pair (NePhi's encoder; Tian et al., ECCV 2024).

    Images `(B, 1, *shape)` of any shape, fixed and moving on one grid. The global code `(B, global_codes)` comes from
    the mean of the coarsest map, the local ones `(B, rows, local_codes)` from a finer map, resampled to the nodes of
    `lattice`, in the order of `LatentGrids` (last axis fastest).
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
        convolution = nn.Conv2d if dimension == 2 else nn.Conv3d
        widths = [2, *settings.filters]
        self.levels = nn.ModuleList(
            nn.Sequential(
                convolution(before, after, 3, stride=2, padding=1),
                nn.GroupNorm(max(1, after // GROUP), after),
                nn.LeakyReLU(SLOPE),
            )
            for before, after in pairwise(widths)
        )
        local_width = settings.filters[settings.local_level - 1]
        self.local = convolution(local_width, local_codes, 1) if local_codes else None
        self.everywhere = (
            nn.Sequential(
                nn.Linear(settings.filters[-1], settings.features),
                nn.LeakyReLU(SLOPE),
                nn.Linear(settings.features, global_codes),
            )
            if global_codes
            else None
        )
        _initialise(self, generator)

    def forward(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the global codes and, where there are any, the local codes."""
        features = torch.cat([fixed, moving], dim=1)
        local = None
        for number, level in enumerate(self.levels, start=1):
            features = level(features)
            if number == self.settings.local_level and self.local is not None:
                local = self._on_lattice(self.local(features))
        coarsest = features.flatten(2).mean(dim=-1)
        return coarsest[:, :0] if self.everywhere is None else self.everywhere(coarsest), local

    def _on_lattice(self, features: Tensor) -> Tensor:
        mode = "bilinear" if len(self.lattice) == 2 else "trilinear"
        resampled = nn.functional.interpolate(features, size=self.lattice, mode=mode, align_corners=True)
        return resampled.flatten(2).transpose(1, 2)


def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights from `generator` alone (He et al. 2015); biases are zero."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d | nn.Linear):
            inputs = part.weight[0].numel()
            with torch.no_grad():
                draws = torch.randn(part.weight.shape, generator=generator)
                part.weight.copy_(draws * (2 / ((1 + SLOPE**2) * inputs)) ** 0.5)
                if part.bias is not None:
                    part.bias.zero_()
