"""Features of images that move exactly with what an image shows, for coordinate attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.networks.blocks import BYTES_PER_FEATURE, convolution, initialise
from nephi.tables import short_repr

BACKGROUND = 0.01  # intensities up to this are background; images have values from 0 to 1
MOST_BLOCKS, MOST_DILATIONS, LARGEST_DILATION, LARGEST_PADDING = 16, 8, 64, 64


@dataclass(frozen=True)
class FeatureSettings:
    """Residual blocks of dilated convolutions.

    channels: of the features.
    padding: voxels of background around the image, in which features of the foreground are computed, too.
    blocks: number of residual blocks.
    dilations: those of the convolutions of each block; or its standard deviations, see `InvariantFeatureNetwork`.
    """

    table: ClassVar[str] = "model.features"

    channels: int = 32
    padding: int = 9
    blocks: int = 3
    dilations: tuple[int, ...] = (1, 2, 4)

    def __post_init__(self) -> None:
        for name, most in (("channels", 2**20), ("padding", LARGEST_PADDING), ("blocks", MOST_BLOCKS)):
            if not 1 <= getattr(self, name) <= most:
                raise UsageError(f"{self.table}.{name}: expected 1 to {most}, got {getattr(self, name)}")
        dilations = self.dilations
        if not 1 <= len(dilations) <= MOST_DILATIONS or not 1 <= min(dilations) <= max(dilations) <= LARGEST_DILATION:
            raise UsageError(
                f"{self.table}.dilations: expected 1 to {MOST_DILATIONS} integers from 1 to {LARGEST_DILATION}, got "
                f"{short_repr(dilations)}"
            )


class FeatureNetwork(nn.Module):
    """Computes features `(B, C, *shape)` of padded images `(B, 1, *shape)`, at most 4 long; 0 far from the foreground.

    The network of CARL (Greer et al., CVPR 2025): a convolution, then residual blocks of dilated convolutions, without
    pooling and positions. Features are returned as `4 c / (|c| + 0.001)`, so that products of two are between -16 and
    16.

    Three changes make it commute with shifts of the foreground exactly, not only after training: convolutions without
    biases and a normalisation by the root of the mean square over all channels and voxels of an image keep the
    background at 0, as zero padding does; and features farther from the foreground than `padding` are set to 0, so that
    none are cut off at the border.
    """

    def __init__(self, settings: FeatureSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__()
        dimension = grid.dimension
        self.first = _layer(dimension, 1, settings.channels, 1)
        self.blocks = nn.ModuleList(
            nn.ModuleList(_layer(dimension, settings.channels, settings.channels, d) for d in settings.dilations)
            for _ in range(settings.blocks)
        )
        initialise(self, generator)

    def forward(self, images: Tensor, present: Tensor) -> Tensor:
        """Compute the features; `present` `(B, 1, *shape)` is 1 near the foreground (`near_foreground`), else 0."""
        features = self.first(images * present).relu() * present
        for block in self.blocks:
            assert isinstance(block, nn.ModuleList)
            features = normalised(features)
            update = features
            for number, layer in enumerate(block):
                update = layer(update if number == 0 else update.relu()) * present
            features = features + update
        return bounded(features)

    @staticmethod
    def size(settings: FeatureSettings, grid: Grid) -> tuple[int, int]:
        """Compute the number of parameters, and the bytes that a prediction allocates for two images on `grid`."""
        channels, layers = settings.channels, settings.blocks * len(settings.dilations)
        parameters = 3**grid.dimension * channels * (1 + layers * channels)
        return parameters, BYTES_PER_FEATURE * 2 * (layers + 1) * channels * grid.size


def near_foreground(images: Tensor, distance: int) -> Tensor:
    """Return where `images` `(B, 1, *shape)` have foreground within `distance` voxels along every axis, as 0 and 1."""
    near = (images > BACKGROUND).to(images)
    pool = nn.functional.max_pool2d if images.ndim == 4 else nn.functional.max_pool3d
    for axis in range(images.ndim - 2):
        window = [2 * distance + 1 if each == axis else 1 for each in range(images.ndim - 2)]
        near = pool(near, window, stride=1, padding=[w // 2 for w in window])
    return near


def padded(grid: Grid, voxels: int) -> Grid:
    """Return the grid with `voxels` more on every side."""
    affine = grid.affine.clone()
    affine[:-1, -1] = grid.voxel_to_world_points(torch.full((grid.dimension,), -float(voxels), dtype=torch.float64))
    return Grid(tuple(n + 2 * voxels for n in grid.shape), affine)


def _layer(dimension: int, before: int, after: int, dilation: int) -> nn.Module:
    return convolution(dimension)(
        before, after, 3, padding=dilation, dilation=dilation, bias=False, dtype=torch.float32
    )


def normalised(features: Tensor) -> Tensor:
    """Return the features of each image divided by their root mean square, which shifts do not change."""
    square = features.flatten(1).square().mean(dim=1).reshape(-1, *[1] * (features.ndim - 1))
    return features / (square + 1e-12).sqrt()


def bounded(features: Tensor) -> Tensor:
    """Return `4 c / (|c| + 0.001)` of features c; its gradient is finite where all channels are 0."""
    length = (features.square().sum(dim=1, keepdim=True) + 1e-12).sqrt()
    return 4 * features / (length + 0.001)
