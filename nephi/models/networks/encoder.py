"""The encoder: a convolutional network from a pair of images to latent values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from nephi.errors import UsageError
from nephi.fields import LatentBatch
from nephi.models.networks.blocks import (
    BYTES_PER_FEATURE,
    SLOPE,
    block,
    block_parameters,
    check_filter_count,
    check_filters,
    convolution,
    halved,
    initialise,
)

FLAT = 1e-4  # squared slope, per voxel, below which noise would decide the direction


@dataclass(frozen=True)
class EncoderSettings:
    """A contracting path of convolutions, each of which halves the resolution, and an expanding path.

    filters: channels at each resolution, the first at half the resolution of the images.
    finest: index in `filters`, from 0, of the finest resolution of the expanding path; latent grids of finer spacing
        are predicted from it as well. At 0 this resolution takes most of the computing time.
    pooled: cells along each axis to which the coarsest feature map is averaged for the global code.
    features: width of the hidden layer between these averages and the global code.
    forces: the demons' forces of the two images, the motion that each voxel alone suggests, are further input
        channels, with which training converges sooner.
    """

    filters: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    finest: int = 0
    pooled: int = 4
    features: int = 256
    forces: bool = False

    def __post_init__(self) -> None:
        check_filter_count("encoder.filters", self.filters)
        for name in ("pooled", "features"):
            if getattr(self, name) < 1:
                raise UsageError(f"encoder.{name}: expected a positive integer, got {getattr(self, name)}")
        if not 0 <= self.finest < len(self.filters):
            raise UsageError(
                f"encoder.finest: expected 0 to {len(self.filters) - 1}, an index of encoder.filters, got {self.finest}"
            )


@dataclass(frozen=True)
class Lattice:
    """Nodes of a latent grid along each axis, and channels at each.

    Of B-splines of a `degree` above 1 some nodes lie beyond the box of the images, see `LatentGrids`.
    """

    shape: tuple[int, ...]
    channels: int
    degree: int = 1


class PairEncoder(nn.Module):
    """Predict the latent values of a pair from images on a grid of `shape`.

    After NePhi's encoder (Tian et al., ECCV 2024), with the upward path of a U-Net, so that local latent values have a
    global receptive field. The global code is computed from the coarsest feature map, averaged over a few cells that
    keep the positions of structures; the values of a lattice from the coarsest map with as many cells as the lattice
    has nodes, resampled to its nodes, in the order of `LatentGrids` (last axis fastest).
    """

    def __init__(
        self,
        settings: EncoderSettings,
        shape: Sequence[int],
        global_codes: int,
        lattices: Sequence[Sequence[Lattice]],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.lattices = tuple(tuple(levels) for levels in lattices)
        d, filters = len(shape), settings.filters
        check_filters("encoder.filters", filters, [halved(shape, level + 1) for level in range(len(filters))])
        self.mode = "bilinear" if d == 2 else "trilinear"
        self.level_of = _level_of(settings, shape, lattices)
        channels = [_input_channels(settings, d), *filters]
        self.down = nn.ModuleList(block(d, before, after, stride=2) for before, after in pairwise(channels))
        self.up = nn.ModuleList(
            block(d, filters[k + 1] + filters[k], filters[k], stride=1) for k in _up_levels(settings, self.level_of)
        )
        self.heads = nn.ModuleList(
            convolution(d)(filters[self.level_of[lattice]], lattice.channels, 3, padding=1, dtype=torch.float32)
            for levels in self.lattices
            for lattice in levels
        )
        self.global_code = (
            nn.Sequential(
                nn.Linear(filters[-1] * settings.pooled**d, settings.features, dtype=torch.float32),
                nn.LeakyReLU(SLOPE),
                nn.Linear(settings.features, global_codes, dtype=torch.float32),
            )
            if global_codes
            else None
        )
        initialise(self, generator)

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> LatentBatch:
        """Predict the latent values for images `(B, 1, *shape)`, of this shape or another, of any pairs."""
        parts = [fixed, moving, *([forces(fixed, moving)] if self.settings.forces else [])]
        features = torch.cat(parts, dim=1)
        maps = []
        for down in self.down:
            features = down(features)
            maps.append(features)
        global_codes = self._global_codes(maps[-1])
        for k, up in zip(reversed(range(len(maps) - 1)), self.up, strict=False):
            maps[k] = up(torch.cat([self._resample(maps[k + 1], maps[k].shape[2:]), maps[k]], dim=1))
        heads = iter(self.heads)
        tables = []
        for levels in self.lattices:
            values = [self._values(next(heads)(maps[self.level_of[each]]), each) for each in levels]
            tables.append(torch.cat([v.flatten(2).transpose(1, 2) for v in values], dim=1))
        return LatentBatch(global_codes, tables)

    def _global_codes(self, coarsest: Tensor) -> Tensor:
        if self.global_code is None:
            return coarsest.new_zeros(len(coarsest), 0)
        pool = nn.functional.adaptive_avg_pool2d if coarsest.ndim == 4 else nn.functional.adaptive_avg_pool3d
        codes: Tensor = self.global_code(pool(coarsest, self.settings.pooled).flatten(1))
        return codes

    def _values(self, features: Tensor, lattice: Lattice) -> Tensor:
        return self._resample(features, lattice.shape) if lattice.degree == 1 else spline_values(features, lattice)

    def _resample(self, features: Tensor, shape: Sequence[int]) -> Tensor:
        if tuple(features.shape[2:]) == tuple(shape):
            return features
        return nn.functional.interpolate(features, size=tuple(shape), mode=self.mode, align_corners=True)


def spline_values(features: Tensor, lattice: Lattice) -> Tensor:
    """Return features `(B, C, *shape)` at the nodes of a lattice of B-splines, beyond the box those at its border."""
    axes = [
        (torch.arange(n, dtype=features.dtype, device=features.device) - (lattice.degree - 1) / 2)
        / (n - lattice.degree)
        for n in lattice.shape
    ]
    unit = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)  # grid_sample counts the last axis first
    positions = (2 * unit - 1).expand(len(features), *unit.shape)
    return nn.functional.grid_sample(features, positions, padding_mode="border", align_corners=True)


def encoder_size(
    settings: EncoderSettings, shape: Sequence[int], global_codes: int, lattices: Sequence[Sequence[Lattice]]
) -> tuple[int, int]:
    """Compute the number of parameters of a `PairEncoder`, and the bytes that a prediction allocates in it."""
    d, filters = len(shape), settings.filters
    level_of = _level_of(settings, shape, lattices)
    channels = [_input_channels(settings, d), *filters]
    parameters = sum(block_parameters(d, before, after) for before, after in pairwise(channels))
    parameters += sum(
        block_parameters(d, filters[k + 1] + filters[k], filters[k]) for k in _up_levels(settings, level_of)
    )
    parameters += sum((3**d * filters[level_of[each]] + 1) * each.channels for levels in lattices for each in levels)
    if global_codes:
        parameters += (filters[-1] * settings.pooled**d + 1) * settings.features
        parameters += (settings.features + 1) * global_codes
    features = d * math.prod(shape) if settings.forces else 0  # forces need as much as a feature for each axis
    for level, count in enumerate(filters):
        features += count * math.prod(halved(shape, level + 1))
    return parameters, BYTES_PER_FEATURE * features


def forces(fixed: Tensor, moving: Tensor) -> Tensor:
    """Return the demons' forces `(B, D, *shape)` of images `(B, 1, *shape)`, in voxels along each axis, at most 1 long.

    To first order `fixed(x) = moving(x + u)` determines the component of u along the gradient g of the images' mean:
    `u = (fixed - moving) g / (|g|^2 + (fixed - moving)^2 / 4 + FLAT)`. The symmetric force of Vercauteren
    et al. (NeuroImage 2009), after Thirion (Medical Image Analysis 1998). Axes have two voxels or more.
    """
    difference = fixed - moving
    slopes = torch.gradient((fixed + moving) / 2, dim=list(range(2, fixed.ndim)))
    slope = torch.cat(slopes, dim=1)
    return difference * slope / (slope.square().sum(dim=1, keepdim=True) + difference.square() / 4 + FLAT)


def _input_channels(settings: EncoderSettings, dimension: int) -> int:
    return 2 + dimension if settings.forces else 2


def _level_of(
    settings: EncoderSettings, shape: Sequence[int], lattices: Sequence[Sequence[Lattice]]
) -> dict[Lattice, int]:
    """Return for each lattice the index of the resolution from which its values are predicted."""
    every = [lattice for levels in lattices for lattice in levels]
    return {each: max(settings.finest, _coarsest_level(each.shape, shape, len(settings.filters))) for each in every}


def _up_levels(settings: EncoderSettings, level_of: dict[Lattice, int]) -> list[int]:
    """Return the resolutions on the upward path, from the coarsest to the finest that a lattice needs."""
    last = len(settings.filters) - 1
    return list(reversed(range(min(level_of.values(), default=last), last)))


def _coarsest_level(nodes: Sequence[int], shape: Sequence[int], levels: int) -> int:
    """Return the coarsest level whose map of an image of `shape` has at least `nodes` cells along each axis, or 0."""
    level = 0
    while level + 1 < levels and all(cells >= n - 1 for cells, n in zip(halved(shape, level + 2), nodes, strict=True)):
        level += 1
    return level
