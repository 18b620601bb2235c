"""The affine network: one matrix and one translation from two images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.networks.blocks import (
    BYTES_PER_FEATURE,
    SLOPE,
    block,
    block_parameters,
    check_filter_count,
    check_filters,
    halved,
    initialise,
)

SCALE = 0.1  # of the last layer, as in the U-Nets of ICON: with rates of 1e-3 the first steps move by 1 % of the box


@dataclass(frozen=True)
class AffineNetworkSettings:
    """A contracting path of convolutions, and a hidden layer.

    filters: channels at each resolution, the first at half the resolution of the images.
    pooled: cells along each axis to which the coarsest feature map is averaged; 1 averages over the whole image.
    features: width of the hidden layer.
    """

    table: ClassVar[str] = "model.affine"

    filters: tuple[int, ...] = (16, 32, 32, 64, 64)
    pooled: int = 2
    features: int = 64

    def __post_init__(self) -> None:
        check_filter_count(f"{self.table}.filters", self.filters)
        for name in ("pooled", "features"):
            if getattr(self, name) < 1:
                raise UsageError(f"{self.table}.{name}: expected a positive integer, got {getattr(self, name)}")


class AffineNetwork(nn.Module):
    """Predicts `(B, D, D + 1)` from images `(B, 1, *shape)` on `grid`: a matrix, and a vector in mm; at first zero.

    Both are in world axes (RAS) and belong to the centre of the box: `v(x) = M (x - centre) + t`. After the affine
    network of ICON (Greer et al., ICCV 2021), with group normalisation, which does not mix pairs, and the position of
    features kept in a few cells. The last layer has no bias: differences of two predictions do not depend on it.
    """

    axes: Tensor

    def __init__(self, settings: AffineNetworkSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__()
        d, filters = grid.dimension, settings.filters
        check_filters(f"{settings.table}.filters", filters, [halved(grid.shape, k + 1) for k in range(len(filters))])
        self.grid = grid
        self.lattice = grid
        self.down = nn.Sequential(*(block(d, before, after, stride=2) for before, after in pairwise((2, *filters))))
        self.pool = (nn.AdaptiveAvgPool2d if d == 2 else nn.AdaptiveAvgPool3d)(settings.pooled)
        self.hidden = nn.Linear(filters[-1] * settings.pooled**d, settings.features, dtype=torch.float32)
        self.last = nn.Linear(settings.features, d * (d + 1), bias=False, dtype=torch.float32)
        self.register_buffer("axes", grid.direction.float(), persistent=False)  # of voxels
        edges = grid.spacing * (torch.tensor(grid.shape, dtype=torch.float64) - 1).clamp(min=1)
        self.edge = float(edges.mean())  # mm; one length for all axes keeps rotations
        initialise(self, generator)
        with torch.no_grad():
            self.last.weight.zero_()

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Predict matrix and vector: along voxel axes and in edges of the box inside the network, RAS and mm outside.

        So that the network does not have to learn the orientation of the grid.
        """
        features = self.pool(self.down(torch.cat([fixed, moving], dim=1))).flatten(1)
        hidden = nn.functional.leaky_relu(self.hidden(features), SLOPE)
        d = self.grid.dimension
        predicted = SCALE * self.last(hidden).unflatten(1, (d, d + 1))
        matrices = self.axes @ predicted[..., :-1] @ torch.linalg.inv(self.axes)
        vectors = self.edge * predicted[..., -1:]
        return torch.cat([matrices, self.axes @ vectors], dim=-1).to(fixed.dtype)


def affine_network_size(settings: AffineNetworkSettings, grid: Grid) -> tuple[int, int]:
    """Compute the number of parameters of an `AffineNetwork`, and the bytes that a prediction allocates in it."""
    d, filters = grid.dimension, settings.filters
    parameters = sum(block_parameters(d, before, after) for before, after in pairwise((2, *filters)))
    parameters += (filters[-1] * settings.pooled**d + 1) * settings.features + settings.features * d * (d + 1)
    features = sum(count * math.prod(halved(grid.shape, level + 1)) for level, count in enumerate(filters))
    return parameters, BYTES_PER_FEATURE * features
