"""The displacement U-Net: a displacement for every voxel of the fixed image, to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.models.base import ModelSettings, ModelSize, PairNetwork, RegistrationModel
from nephi.models.networks.unet import UNet, UNetSettings, every_voxel, unet_size
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import DisplacementMaps, MapPair


@dataclass(frozen=True)
class DisplacementUNetSettings(UNetSettings, ModelSettings):
    """Architecture of the network, as `UNetSettings`."""

    kind: ClassVar[str] = "unet"
    table: ClassVar[str] = "model"


class DisplacementNetwork(PairNetwork):
    """`phi(x) = x + u(x)`, u interpolated linearly from the vectors of a U-Net; without an inverse."""

    def __init__(self, settings: UNetSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__()
        self.grid = grid
        self.unet = UNet(settings, grid, generator)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi."""
        return MapPair(DisplacementMaps(self.unet(fixed, moving), self.unet.lattice))

    @classmethod
    def size(cls, settings: UNetSettings, grid: Grid) -> ModelSize:
        """Compute the sizes of the U-Net."""
        parameters, activations = unet_size(settings, grid)
        return ModelSize(parameters, activations, every_voxel(grid, settings.finest).size * grid.dimension)


class DisplacementUNet(RegistrationModel[DisplacementUNetSettings]):
    """A U-Net that predicts a displacement for every voxel (VoxelMorph's form; Balakrishnan et al., TMI 2019).

    No inverse is predicted.
    """

    Settings = DisplacementUNetSettings
    default_objective = TrainingObjectiveSettings(gradicon=0.0, codes=0.0, diffusion=0.1)
    predicts_inverse = False

    def __init__(self, settings: DisplacementUNetSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__(settings, grid, generator)
        self.network = UNet(settings, grid, generator)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi, interpolated linearly from the displacement of the voxels."""
        return MapPair(DisplacementMaps(self.network(fixed, moving), self.network.lattice))

    @classmethod
    def size(cls, settings: DisplacementUNetSettings, grid: Grid) -> ModelSize:
        """Compute the sizes of the U-Net."""
        return DisplacementNetwork.size(settings, grid)
