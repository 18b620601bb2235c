"""The networks of KeyMorph and BrainMorph that compute heat maps of keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from nephi.models.networks.blocks import convolution
from nephi.models.published.tall_unet import RecordedNormalization

NORMALIZATIONS = ("instance", "none", "group", "batch")  # the first two have no parameters
GROUPS = 8


class ConvBackbone(nn.Module):
    """The network `conv`: blocks of a convolution, normalisation and ReLU; max-pooling after every second block.

    `channels` are those after each block, the last those of the heat maps `(B, K, ...)`, 0 or more.
    """

    def __init__(self, dimension: int, channels: Sequence[int], normalization: str) -> None:
        super().__init__()
        make = convolution(dimension)
        self.convolutions = nn.ModuleList(
            make(before, after, 3, padding=1, dtype=torch.float32) for before, after in pairwise([1, *channels])
        )
        self.normalizations = nn.ModuleList(_normalization(normalization, dimension, count) for count in channels)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the heat maps of images `(B, 1, ...)`."""
        features = images
        for number, layers in enumerate(zip(self.convolutions, self.normalizations, strict=True)):
            for layer in layers:
                features = layer(features)
            features = features.relu_()
            if number % 2:
                features = _pooled(features)
        return features


class UNetBackbone(nn.Module):
    """The networks `unet` and `truncatedunet`: a 3-D U-Net (Cicek et al., MICCAI 2016), its finest levels left out.

    `channels` are those of each resolution, the finest first; `left_out` levels of the upward path are missing, so that
    heat maps have a coarser resolution. Each layer is group normalisation, a convolution without bias, and ReLU.
    """

    def __init__(self, dimension: int, channels: Sequence[int], left_out: int, keypoints: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(_double_layer(dimension, *level) for level in _downward_path(channels))
        self.up = nn.ModuleList(_double_layer(dimension, *level) for level in _upward_path(channels, left_out))
        self.last = convolution(dimension)(channels[left_out], keypoints, 1, dtype=torch.float32)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the heat maps of images `(B, 1, ...)`."""
        features, skipped = images, []
        for number, level in enumerate(self.down):
            features = level(features if number == 0 else _pooled(features))
            if len(self.down) - 1 - len(self.up) <= number < len(self.down) - 1:
                skipped.append(features)
        for level in self.up:
            finer = skipped.pop()
            features = nn.functional.interpolate(features, size=finer.shape[2:])  # the nearest
            features = level(torch.cat([finer, features], dim=1))
        heat_maps: Tensor = self.last(features)
        return heat_maps.relu_()


def _downward_path(channels: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return the channels before, between and after the two layers of each level, the finest first."""
    return [(before, max(before, after // 2), after) for before, after in pairwise([1, *channels])]


def _upward_path(channels: Sequence[int], left_out: int) -> list[tuple[int, int, int]]:
    """Return the channels before, between and after the two layers of each level, the coarsest first."""
    return [(coarse + fine, fine, fine) for fine, coarse in pairwise(channels)][left_out:][::-1]


def conv_parameters(dimension: int, channels: Sequence[int], normalization: str) -> int:
    """Compute the number of parameters of a `ConvBackbone`."""
    layers = sum((3**dimension * before + 1) * after for before, after in pairwise([1, *channels]))
    return layers + (2 * sum(channels) if normalization in ("group", "batch") else 0)


def unet_parameters(dimension: int, channels: Sequence[int], left_out: int, keypoints: int) -> int:
    """Compute the number of parameters of a `UNetBackbone`."""
    parameters = (channels[left_out] + 1) * keypoints
    for before, between, after in (*_downward_path(channels), *_upward_path(channels, left_out)):
        parameters += 2 * (before + between) + 3**dimension * between * (before + after)
    return parameters


def conv_has_groups(channels: Sequence[int]) -> bool:
    """Return whether the channels of a `ConvBackbone` can be divided into groups."""
    return not any(count % GROUPS for count in channels)


def unet_has_groups(channels: Sequence[int], left_out: int) -> bool:
    """Return whether the channels of a `UNetBackbone` can be divided into groups, or are so few that they are one."""
    levels = (*_downward_path(channels), *_upward_path(channels, left_out))
    return not any(count >= GROUPS and count % GROUPS for level in levels for count in level[:2])


def _double_layer(dimension: int, before: int, between: int, after: int) -> nn.Sequential:
    return nn.Sequential(_layer(dimension, before, between), _layer(dimension, between, after))


def _layer(dimension: int, before: int, after: int) -> nn.Sequential:
    groups = GROUPS if before >= GROUPS else 1
    return nn.Sequential(
        nn.GroupNorm(groups, before, dtype=torch.float32),
        convolution(dimension)(before, after, 3, padding=1, bias=False, dtype=torch.float32),
        nn.ReLU(inplace=True),
    )


def _normalization(kind: str, dimension: int, channels: int) -> nn.Module:
    if kind == "instance":
        return nn.InstanceNorm2d(channels) if dimension == 2 else nn.InstanceNorm3d(channels)
    if kind == "group":
        return nn.GroupNorm(GROUPS, channels, dtype=torch.float32)
    return RecordedNormalization(channels) if kind == "batch" else nn.Identity()


def _pooled(features: Tensor) -> Tensor:
    """Return the maxima over 2 voxels along each axis; a last odd one is dropped."""
    pool = nn.functional.max_pool2d if features.ndim == 4 else nn.functional.max_pool3d
    return pool(features, 2)
