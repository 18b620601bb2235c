"""A model that is not part of nephi: it predicts a translation for each pair, and its inverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from nephi.geometry import Grid
from nephi.models import ModelSettings, ModelSize, RegistrationModel
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import AffineMaps, MapPair


@dataclass(frozen=True)
class TranslationSettings(ModelSettings):
    """`power` of the intensities by which the centre of mass is weighted."""

    kind: ClassVar[str] = "translation"

    power: float = 1.0


class TranslationModel(RegistrationModel[TranslationSettings]):
    """A linear layer from the distance of the images' centres of mass to a translation, both in mm."""

    Settings = TranslationSettings
    default_objective = TrainingObjectiveSettings(points=200, gradicon=0.0, codes=0.0)
    predicts_inverse = True

    def __init__(self, settings: TranslationSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__(settings, grid, generator)
        self.head = nn.Linear(grid.dimension, grid.dimension, dtype=torch.float32)
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.zero_()

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        """Predict a translation and its inverse."""
        translations = self.head(self._centre_of_mass(moving) - self._centre_of_mass(fixed))
        matrices = torch.eye(self.grid.dimension, dtype=fixed.dtype, device=fixed.device).expand(len(fixed), -1, -1)
        return MapPair(AffineMaps(matrices, translations), AffineMaps(matrices, -translations))

    def _centre_of_mass(self, images: Tensor) -> Tensor:
        weights = images.flatten(1).pow(self.settings.power)
        points = self.grid.voxel_centres().to(images).reshape(-1, self.grid.dimension)
        return weights @ points / weights.sum(dim=1, keepdim=True)

    @classmethod
    def size(cls, settings: TranslationSettings, grid: Grid) -> ModelSize:
        """Compute the sizes: the layer, the weights of the voxels, an affine matrix."""
        d = grid.dimension
        return ModelSize(d * (d + 1), 4 * grid.size, d * (d + 1))
