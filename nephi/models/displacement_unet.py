"""The U-Net of every introduction to learned registration: a displacement, or a velocity, for every voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.base import ModelOutputs, ModelSettings, ModelSize, PairNetwork, RegistrationModel
from nephi.models.networks.unet import UNet, UNetSettings, every_voxel, unet_size
from nephi.settings import TrainingObjectiveSettings
from nephi.tables import short_repr
from nephi.transforms import DisplacementMaps, MapPair, VelocityMaps


class DisplacementNetwork(PairNetwork):
    """`phi(x) = x + u(x)`, u interpolated linearly from the vectors of a U-Net; without an inverse."""

    outputs = ModelOutputs(inverse=False, penalties=())

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


class VelocityNetwork(DisplacementNetwork):
    """phi is the flow of the vectors of a U-Net, a stationary velocity; its inverse is the flow backwards."""

    outputs = ModelOutputs(inverse=True, penalties=("velocity",))

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi, its inverse, and the penalty `velocity`."""
        flow = VelocityMaps(self.unet(fixed, moving), self.unet.lattice)
        return MapPair(flow, flow.inverse(), flow.penalties())


NETWORKS = {"displacement": DisplacementNetwork, "velocity": VelocityNetwork}
"""The networks by what their vectors are: the values of `transform`."""


@dataclass(frozen=True)
class DisplacementUNetSettings(UNetSettings, ModelSettings):
    """Architecture of the network, as `UNetSettings`, and the transform that it predicts.

    transform: what the vectors of the U-Net are: `displacement`, without an inverse; or a stationary `velocity`, whose
        flow is the transform and has an exact inverse (Dalca et al., Medical Image Analysis 2019).
    """

    kind: ClassVar[str] = "unet"
    table: ClassVar[str] = "model"

    transform: str = "displacement"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.transform not in NETWORKS:
            raise UsageError(
                f"model.transform: expected one of {', '.join(NETWORKS)}, got {short_repr(self.transform)}"
            )


class DisplacementUNet(RegistrationModel[DisplacementUNetSettings]):
    """A U-Net with a vector for every voxel (VoxelMorph's form; Balakrishnan et al., TMI 2019)."""

    Settings = DisplacementUNetSettings
    # VoxelMorph's weight of 1 beside the NCC is that of a mean over the D^2 entries of the squared gradient: 1 / 9 of
    # their sum in 3-D.
    default_objective = TrainingObjectiveSettings(gradicon=0.0, codes=0.0, diffusion=0.1)
    predicts_inverse = False

    def __init__(self, settings: DisplacementUNetSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__(settings, grid, generator)
        self.network = NETWORKS[settings.transform](settings, grid, generator)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi, and its inverse for a velocity."""
        prediction: MapPair = self.network(fixed, moving, pair_ids)
        return prediction

    @classmethod
    def outputs(cls, settings: DisplacementUNetSettings) -> ModelOutputs:
        """Return what the network of `settings.transform` predicts."""
        return NETWORKS[settings.transform].outputs

    @classmethod
    def size(cls, settings: DisplacementUNetSettings, grid: Grid) -> ModelSize:
        """Compute the sizes of the U-Net."""
        return NETWORKS[settings.transform].size(settings, grid)
