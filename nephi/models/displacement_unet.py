"""The displacement U-Net: a displacement for every voxel of the fixed image, to compare with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.base import ModelSettings, ModelSize, RegistrationModel
from nephi.models.blocks import (
    BYTES_PER_FEATURE,
    MOST_RESOLUTIONS,
    block,
    block_parameters,
    check_filters,
    convolution,
    halved,
    initialise,
)
from nephi.settings import TrainingObjectiveSettings
from nephi.tables import short_repr
from nephi.transforms import DisplacementMaps, MapPair


@dataclass(frozen=True)
class UNetSettings(ModelSettings):
    """`filters` are the channels at each resolution, the finest first; each resolution is half of the one before."""

    kind: ClassVar[str] = "unet"

    filters: tuple[int, ...] = (16, 32, 32, 64, 64)

    def __post_init__(self) -> None:
        if not 2 <= len(self.filters) <= MOST_RESOLUTIONS or min(self.filters) < 1:
            raise UsageError(
                f"model.filters: expected at least two positive integers, at most {MOST_RESOLUTIONS}, got "
                f"{short_repr(self.filters)}"
            )


class DisplacementUNet(RegistrationModel[UNetSettings]):
    """A U-Net that predicts a displacement for every voxel (VoxelMorph's form; Balakrishnan et al., TMI 2019).

    The displacement is in voxels inside the network, in world mm in the prediction; no inverse is predicted.
    """

    Settings = UNetSettings
    default_objective = TrainingObjectiveSettings(gradicon=0.0, codes=0.0, diffusion=0.1)
    predicts_inverse = False

    axes: Tensor

    def __init__(self, settings: UNetSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__(settings, grid, generator)
        d, filters = grid.dimension, settings.filters
        check_filters("model.filters", filters, [halved(grid.shape, level) for level in range(len(filters))])
        self.first = block(d, 2, filters[0], stride=1)
        self.down = nn.ModuleList(block(d, fine, coarse, stride=2) for fine, coarse in pairwise(filters))
        self.up = nn.ModuleList(block(d, coarse + fine, fine, stride=1) for coarse, fine in pairwise(filters[::-1]))
        self.last = convolution(d)(filters[0], d, 3, padding=1, dtype=torch.float32)
        self.mode = "bilinear" if d == 2 else "trilinear"
        self.register_buffer("axes", grid.affine[:-1, :-1].float(), persistent=False)  # of voxels, mm
        initialise(self, generator)
        with torch.no_grad():
            self.last.weight.zero_()

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi, interpolated linearly from the displacement of the voxels."""
        return MapPair(DisplacementMaps(self.displacement(fixed, moving).to(fixed.dtype), self.grid))

    def displacement(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Predict the displacement `(B, D, *shape)` in world mm, RAS components, from fixed to moving points."""
        skipped = [self.first(torch.cat([fixed, moving], dim=1))]
        for level in self.down:
            skipped.append(level(skipped[-1]))
        features = skipped.pop()
        for level in self.up:
            finer = skipped.pop()
            features = nn.functional.interpolate(features, size=finer.shape[2:], mode=self.mode, align_corners=False)
            features = level(torch.cat([features, finer], dim=1))
        return torch.einsum("ij,bj...->bi...", self.axes, self.last(features))

    @classmethod
    def size(cls, settings: UNetSettings, grid: Grid) -> ModelSize:
        """Compute the sizes of the U-Net."""
        d, filters = grid.dimension, settings.filters
        parameters = block_parameters(d, 2, filters[0]) + (3**d * filters[0] + 1) * d
        for fine, coarse in pairwise(filters):
            parameters += block_parameters(d, fine, coarse) + block_parameters(d, fine + coarse, fine)
        features = sum(count * math.prod(halved(grid.shape, level)) for level, count in enumerate(filters))
        return ModelSize(parameters, BYTES_PER_FEATURE * features, grid.size * d)
