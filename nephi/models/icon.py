"""ICON: displacements from U-Nets, made regular by inverse consistency alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.models.base import ModelSettings, ModelSize, RegistrationModel
from nephi.models.composition import Steps, Swapped, check_downsampling, downsampled
from nephi.models.displacement_unet import DisplacementNetwork
from nephi.models.networks.unet import UNetSettings
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import MapPair


@dataclass(frozen=True)
class ICONSettings(ModelSettings):
    """Architecture of ICON.

    downsampling: one number n for each composed deformation (step), the first one first; the U-Net of a step receives
        every n-th voxel of the images along each axis.
    unet: the U-Net of each step.
    """

    kind: ClassVar[str] = "icon"
    per_step: ClassVar[tuple[str, ...]] = ("downsampling",)

    downsampling: tuple[int, ...] = (1,)
    unet: UNetSettings = UNetSettings()  # noqa: RUF009 (frozen: cannot be shared by mistake)

    def __post_init__(self) -> None:
        check_downsampling(self.downsampling)


class ICON(RegistrationModel[ICONSettings]):
    """ICON (Greer et al., ICCV 2021): `phi = N[A, B]`, `inverse = N[B, A]`, N one or several U-Nets.

    The network is the same for A, B and for B, A; that the two maps are each other's inverses is learned from the
    term `icon` of the objective, at random points between the voxels, which is what keeps the maps regular.
    """

    Settings: ClassVar[type[ICONSettings]] = ICONSettings
    # ICON's loss is sim + sim' + lambda (E_c|e|^2 + E_c|e'|^2): sums over both directions, E_c a mean over points and
    # components, e in edges L of the box. Here the terms are means over both directions and |e|^2 is a sum over
    # components in mm^2, so that icon = lambda / (D L^2). Triangles and circles with lambda = 2048, D = 2, L = 128 mm:
    # 0.0625; knees with lambda = 3600, D = 3, edges of about 140 mm: 0.06. Larger boxes need less: a quarter for 2 L.
    default_objective = TrainingObjectiveSettings(gradicon=0.0, codes=0.0, icon=0.0625, background_points=512)
    predicts_inverse = True

    def __init__(self, settings: ICONSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__(settings, grid, generator)
        grids = [downsampled(grid, n) for n in settings.downsampling]
        self.network = Swapped(Steps(grid, [DisplacementNetwork(settings.unet, each, generator) for each in grids]))

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict phi and its approximate inverse."""
        prediction: MapPair = self.network(fixed, moving, pair_ids)
        return prediction

    def use_steps(self, count: int, frozen: int = 0) -> None:
        """Use only the first composed steps."""
        self.network.use_steps(count, frozen)

    @classmethod
    def size(cls, settings: ICONSettings, grid: Grid) -> ModelSize:
        """Compute the sizes of the U-Nets, in which both directions are predicted at once."""
        sizes = [DisplacementNetwork.size(settings.unet, downsampled(grid, n)) for n in settings.downsampling]
        return ModelSize(
            sum(size.parameters for size in sizes),
            2 * max(size.activation_bytes for size in sizes),
            2 * sum(size.transform_parameters for size in sizes),
        )
