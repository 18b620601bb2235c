"""Keypoints: centres of mass of heat maps that a convolutional network computes from a single image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.geometry import Grid, full_precision
from nephi.models.networks.blocks import MOST_RESOLUTIONS, convolution, initialise
from nephi.settings.validation import require_at_least
from nephi.tables import short_repr

BYTES_PER_FEATURE = 12  # values, normalised and activated, in single precision
SMALLEST_SUM = 1e-8  # of a heat map; sums of normalised ones are about the number of their cells


class Keypoints(NamedTuple):
    """Points `(B, K, D)` of images, world mm, and their weights `(B, K)`: 0 where an image does not show a keypoint."""

    points: Tensor
    weights: Tensor


@dataclass(frozen=True)
class KeypointSettings:
    """The network that finds keypoints.

    keypoints: their number.
    filters: channels of the blocks before the last one, whose channels are the heat maps; the resolution is halved
        after every second block. KeyMorph's own widths are four times the defaults.
    """

    table: ClassVar[str] = "model"

    keypoints: int = 64
    filters: tuple[int, ...] = (8, 16, 16, 32, 32, 64, 64, 128)

    def __post_init__(self) -> None:
        require_at_least(self.table, 1, high=2**16, keypoints=self.keypoints)
        if not 1 <= len(self.filters) <= 2 * MOST_RESOLUTIONS or min(self.filters) < 1:
            raise UsageError(
                f"{self.table}.filters: expected positive integers, at least one and at most {2 * MOST_RESOLUTIONS}, "
                f"got {short_repr(self.filters)}"
            )

    @property
    def halvings(self) -> int:
        """How many times the resolution is halved."""
        return len(self.filters) // 2


class KeypointNetwork(nn.Module):
    """Finds K keypoints in images `(B, 1, *shape)` on `grid` (the network "conv" of KeyMorph; Wang et al., 2023).

    Blocks of a convolution, instance normalisation, which does not mix images, and ReLU; max-pooling after every second
    block. `lattice` holds the centres of the cells of the heat maps. Shifting an image by a multiple of the total
    pooling shifts its keypoints by as much, as long as features of all blocks are 0 along the border.
    """

    cells: Tensor
    centre: Tensor

    def __init__(self, settings: KeypointSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__()
        d = grid.dimension
        self.grid = grid
        self.lattice = pooled_grid(grid, settings.halvings)
        if self.lattice.size < 2:
            raise UsageError(
                f"{settings.table}.filters: expected fewer blocks, so that heat maps of images of shape "
                f"{short_repr(grid.shape)} have 2 voxels or more, got {short_repr(settings.filters)}"
            )
        self.blocks = nn.ModuleList(
            _block(d, before, after) for before, after in pairwise((1, *settings.filters, settings.keypoints))
        )
        self.pool = (nn.MaxPool2d if d == 2 else nn.MaxPool3d)(2, ceil_mode=True)
        self.register_buffer("cells", self.lattice.voxel_centres().reshape(-1, d), persistent=False)
        self.register_buffer("centre", grid.centre_world().float(), persistent=False)
        initialise(self, generator)

    def forward(self, images: Tensor) -> Keypoints:
        """Find the keypoints; a weight is the sum of a heat map."""
        return centres_of_mass(self.heat_maps(images), self.cells, self.centre)

    def heat_maps(self, images: Tensor) -> Tensor:
        """Compute the heat maps `(B, K, *lattice.shape)`, 0 or more."""
        features = images
        for number, block in enumerate(self.blocks):
            features = block(features)
            if number % 2 and number < len(self.blocks) - 1:
                features = self.pool(features)
        return features


def keypoint_network_size(settings: KeypointSettings, grid: Grid) -> tuple[int, int]:
    """Compute the number of parameters of a `KeypointNetwork`, and the bytes that it allocates for one image."""
    parameters = activations = 0
    for number, (before, after) in enumerate(pairwise((1, *settings.filters, settings.keypoints))):
        parameters += 3**grid.dimension * before * after
        activations += BYTES_PER_FEATURE * after * pooled_grid(grid, number // 2).size
    return parameters, activations


@full_precision()
def centres_of_mass(heat_maps: Tensor, cells: Tensor, centre: Tensor) -> Keypoints:
    """Return the centres of mass of heat maps `(B, K, *shape)`, 0 or more, whose cells lie at `cells` `(N, D)`, mm.

    The weights are the sums of the heat maps, which mixed precision may have computed; positions are not rounded to its
    three digits. A heat map that is 0 everywhere has its keypoint at `centre` `(D,)`, with
    weight 0.
    """
    heat = heat_maps.flatten(2).to(cells)
    weights = heat.sum(dim=-1)
    return Keypoints(centre + heat @ (cells - centre) / (weights + SMALLEST_SUM).unsqueeze(-1), weights)


def pooled_grid(grid: Grid, halvings: int) -> Grid:
    """Return the centres of the cells of `grid` after so many poolings of 2 voxels along each axis.

    A cell of 2^n voxels has its centre between them; a last one of fewer voxels is treated like the others.
    """
    size = 2**halvings
    matrix = torch.eye(grid.dimension + 1, dtype=torch.float64) * size
    matrix[:-1, -1], matrix[-1, -1] = (size - 1) / 2, 1.0
    return Grid(tuple(math.ceil(n / size) for n in grid.shape), grid.affine @ matrix)


def _block(dimension: int, before: int, after: int) -> nn.Sequential:
    """Return a convolution without bias, which the normalisation would remove, with its activation."""
    layer = convolution(dimension)(before, after, 3, padding=1, bias=False, dtype=torch.float32)
    norm = nn.InstanceNorm2d if dimension == 2 else nn.InstanceNorm3d
    return nn.Sequential(layer, norm(after), nn.ReLU())
