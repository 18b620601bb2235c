"""KeyMorph and BrainMorph as they were published, for their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.alignments import FITS
from nephi.models.base import ModelSize, RegistrationModel
from nephi.models.keymorph import KeyMorph, KeyMorphSettings
from nephi.models.networks.blocks import initialise
from nephi.models.networks.keypoints import BYTES_PER_FEATURE, Keypoints
from nephi.models.published.keypoint_backbones import (
    GROUPS,
    NORMALIZATIONS,
    ConvBackbone,
    UNetBackbone,
    conv_has_groups,
    conv_parameters,
    unet_has_groups,
    unet_parameters,
)
from nephi.settings.validation import require_at_least, require_one_of

BACKBONES = ("conv", "unet")
EMPTY = 1e-8  # added to the sum of a heat map


@dataclass(frozen=True)
class PublishedKeyMorphSettings(KeyMorphSettings):
    """Architecture of the published networks; the defaults are those of KeyMorph's `conv`.

    backbone: `conv`, with `filters` for the blocks before the last one, or `unet`, with `filters` for each resolution.
    normalization: `instance`, `none`, `group` or `batch`, with recorded statistics; U-Nets have `group`.
    left_out: levels at the end of a U-Net's upward path that are missing; 1 for BrainMorph (`truncatedunet`).
    """

    kind: ClassVar[str] = "keymorph-published"

    filters: tuple[int, ...] = (32, 64, 64, 128, 128, 256, 256, 512)
    backbone: str = "conv"
    normalization: str = "instance"
    left_out: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("model.backbone", self.backbone, BACKBONES)
        require_one_of("model.normalization", self.normalization, NORMALIZATIONS)
        require_at_least("model", 0, left_out=self.left_out)
        if self.backbone == "unet" and (self.normalization != "group" or self.left_out >= len(self.filters)):
            raise UsageError(
                'model.normalization, model.left_out: expected "group", and less than the number of model.filters, for '
                f"a unet, got {self.normalization!r} and {self.left_out}"
            )
        if self.normalization == "group" and not self._has_groups():
            raise UsageError(
                f"model.filters, model.keypoints: expected multiples of {GROUPS} for groups of channels, got "
                f"{self.filters} and {self.keypoints}"
            )

    def _has_groups(self) -> bool:
        if self.backbone == "unet":
            return unet_has_groups(self.filters, self.left_out)
        return conv_has_groups((*self.filters, self.keypoints))

    @property
    def halvings(self) -> int:
        """How many times the resolution is halved at most."""
        return len(self.filters) // 2 if self.backbone == "conv" else len(self.filters) - 1

    @property
    def heat_map_halvings(self) -> int:
        """How many times coarser heat maps are than images."""
        return self.halvings if self.backbone == "conv" else self.left_out


class PublishedKeypointNetwork(nn.Module):
    """Finds keypoints in images `(B, 1, *shape)` on `grid`, at positions as the published networks define them.

    Centres of mass of heat maps whose first and last cells lie on the first and last voxel centres of the image,
    whatever the pooling: the weights were trained with it. An empty heat map has its keypoint at the first voxel, with
    weight 0. One image after the other, in the memory of one.
    """

    def __init__(self, settings: PublishedKeyMorphSettings, grid: Grid) -> None:
        super().__init__()
        self.grid = grid
        d, filters = grid.dimension, settings.filters
        self.backbone = (
            ConvBackbone(d, (*filters, settings.keypoints), settings.normalization)
            if settings.backbone == "conv"
            else UNetBackbone(d, filters, settings.left_out, settings.keypoints)
        )

    def forward(self, images: Tensor) -> Keypoints:
        """Find the keypoints; a weight is the sum of a heat map."""
        fractions, sums = zip(*[centres_of_mass(self.backbone(image)) for image in images.split(1)], strict=True)
        last = torch.tensor(self.grid.shape, dtype=torch.float64, device=images.device) - 1
        points = self.grid.voxel_to_world_points(torch.cat(fractions) * last)
        return Keypoints(points.to(images), torch.cat(sums).to(images))


class PublishedKeyMorph(KeyMorph):
    """KeyMorph (Wang et al., Medical Image Analysis 2023) and BrainMorph (2024) with their networks.

    The maps are those of `KeyMorph`: `docs/how-to/from-keymorph.md` lists what differs from the published program.
    """

    Settings = PublishedKeyMorphSettings
    softening = 1e-6
    settings: PublishedKeyMorphSettings

    def __init__(self, settings: PublishedKeyMorphSettings, grid: Grid, generator: torch.Generator) -> None:
        RegistrationModel.__init__(self, settings, grid, generator)
        self.network = PublishedKeypointNetwork(settings, grid)
        initialise(self, generator)

    @classmethod
    def size(cls, settings: KeyMorphSettings, grid: Grid) -> ModelSize:
        """Compute the sizes of the network, which gets one image at a time, and of the map.

        Raises `UsageError` for images of too few voxels.
        """
        assert isinstance(settings, cls.Settings)
        fewest = max(2 ** (settings.heat_map_halvings + 1), 2**settings.halvings)
        if min(grid.shape) < fewest:
            raise UsageError(
                f"input.shape: expected at least {fewest} voxels along each axis for model.filters, got {grid.shape}"
            )
        d, filters, count = grid.dimension, settings.filters, settings.keypoints
        finest = grid.size * filters[0] * BYTES_PER_FEATURE
        spline_parameters = 0 if settings.align in FITS else 2 * d * count
        parameters = (
            conv_parameters(d, (*filters, count), settings.normalization)
            if settings.backbone == "conv"
            else unet_parameters(d, filters, settings.left_out, count)
        )
        return ModelSize(parameters, 2 * finest, d * (d + 1) + spline_parameters)


def centres_of_mass(heat_maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return centres of mass `(B, K, D)` of heat maps `(B, K, *shape)`, 0 to 1 along each axis, and sums `(B, K)`.

    0 and 1 are the centres of the first and the last cell; computed in float64.
    """
    heat_maps = heat_maps.float()  # mixed precision would round their sums
    axes = range(2, heat_maps.ndim)
    fractions = []
    for axis in axes:
        mass = heat_maps.sum(dim=[other for other in axes if other != axis]).double()
        places = torch.linspace(0, 1, heat_maps.shape[axis], dtype=torch.float64, device=heat_maps.device)
        total = mass.sum(dim=-1)
        fractions.append((mass * places).sum(dim=-1) / (total + EMPTY))
    return torch.stack(fractions, dim=-1), total
