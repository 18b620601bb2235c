"""Features of images that do not change when an image is turned: each moves with the place that it describes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nephi.geometry import Grid
from nephi.models.networks.blocks import convolution, initialise
from nephi.models.networks.features import FeatureSettings, bounded, normalised

SHORT = 0.01  # of the root mean square of the features: gradients shorter than this have no direction


class InvariantFeatureNetwork(nn.Module):
    """Computes features `(B, C, *grid.shape)` of padded images `(B, 1, *grid.shape)` that turn with the foreground.

    Blocks like those of `FeatureNetwork`, but of values that a rotation by any angle leaves as they are: features
    smoothed by Gaussians, and products of their gradients (`_InvariantBlock`). The features of a turned image are the
    turned features, whatever the weights: exactly so for turns that map the lattice to itself, for others up to the
    sampling of the Gaussians and to the corners of the box `present`, which does not turn. A mean over turned copies of
    an image has this property for the angles of the copies alone.

    They are not those of the mirrored image: the sides of a body that is symmetric by a mirror differ, the ends of one
    that is symmetric by a half-turn cannot.

    At last each channel gets mean 0 and variance 1 within `present`, so that features of different places differ before
    any training. `FeatureSettings.dilations` are the standard deviations of the Gaussians, in voxels of the coarsest
    axis; the axes of `grid` should be orthogonal.
    """

    def __init__(self, settings: FeatureSettings, grid: Grid, generator: torch.Generator) -> None:
        super().__init__()
        self.derivatives = GaussianDerivatives(grid, settings.dilations)
        d, scales, channels = grid.dimension, len(settings.dilations), settings.channels
        self.first = _InvariantBlock(d, 1, channels, scales)
        self.blocks = nn.ModuleList(_InvariantBlock(d, channels, channels, scales) for _ in range(settings.blocks))
        initialise(self, generator)

    def forward(self, images: Tensor, present: Tensor) -> Tensor:
        """Compute the features; `present` `(B, 1, *shape)` is 1 near the foreground (`near_foreground`), else 0."""
        features = self._update(self.first, normalised(images * present)) * present
        for block in self.blocks:
            features = normalised(features)
            features = features + self._update(block, features) * present
        return bounded(_standardised(normalised(features), present))

    @staticmethod
    def size(settings: FeatureSettings, grid: Grid) -> tuple[int, int]:
        """Compute the number of parameters, and the bytes that a prediction allocates for two images on `grid`."""
        d, scales, channels = grid.dimension, len(settings.dilations), settings.channels
        mixed = 1 + scales + d * scales  # weights for each pair of channels
        parameters = channels * (mixed + 3 * channels) + settings.blocks * channels**2 * (mixed + 3)
        numbers = channels * (4 + scales + d * scales + 2 * d * d)  # of one voxel, in one block
        return parameters, 4 * 2 * numbers * grid.size

    def _update(self, block: nn.Module, features: Tensor) -> Tensor:
        """Return a block's update; in a training its many gradients are computed again in the backward pass."""

        def update(features: Tensor) -> Tensor:
            updated: Tensor = block(features, *self.derivatives(features))
            return updated

        result: Tensor = checkpoint(update, features, use_reentrant=False, preserve_rng_state=False)
        return result


class GaussianDerivatives(nn.Module):
    """Features `(B, C, *grid.shape)` smoothed by K Gaussians, and their gradients in the world, times the Gaussian's
    standard deviation (Lindeberg's normalised derivatives, which do not depend on the unit).

    `deviations` are in voxels of the axis with the largest spacing; the features are 0 beyond the grid. Gaussians are
    the only separable filters that are the same in all directions, and so are the lengths of the gradients.
    """

    frame: Tensor

    def __init__(self, grid: Grid, deviations: tuple[int, ...]) -> None:
        super().__init__()
        self.count, self.dimension = len(deviations), grid.dimension
        largest = float(grid.spacing.max())
        for axis, (voxels, spacing) in enumerate(zip(grid.shape, grid.spacing.tolist(), strict=True)):
            filters = [_gaussian(voxels, deviation * largest / spacing) for deviation in deviations]
            for order in (0, 1):
                matrices = torch.stack([each[order] for each in filters]).float()
                self.register_buffer(f"filters_{axis}_{order}", matrices, persistent=False)
        # From differences along the axes, in standard deviations, to the directions of the world.
        frame = grid.inverse_affine[:-1, :-1].T * grid.spacing
        self.register_buffer("frame", frame.float(), persistent=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the smoothed features `(B, K C, *shape)` and their gradients `(D, B, K C, *shape)`."""
        axes = range(self.dimension)
        smoothed = torch.cat([self._filtered(features, k, None) for k in range(self.count)], dim=1)
        by_axis = [torch.cat([self._filtered(features, k, axis) for k in range(self.count)], dim=1) for axis in axes]
        return smoothed, torch.tensordot(self.frame.to(features), torch.stack(by_axis), dims=1)

    def _filtered(self, features: Tensor, k: int, derived: int | None) -> Tensor:
        """Return the features smoothed by a Gaussian, and differentiated along one axis, if it is given."""
        for axis in range(self.dimension):
            matrix: Tensor = getattr(self, f"filters_{axis}_{int(axis == derived)}")[k]
            features = (features.movedim(axis + 2, -1) @ matrix.T.to(features)).movedim(-1, axis + 2)
        return features


class _InvariantBlock(nn.Module):
    """Mixes smoothed features, and D mixtures a, b (, c) of their gradients as `a . b / |b|` and `det(a, b) / |b|`.

    In 3-D the latter is `det(a, b, c) / (|b| |c|)`. Dot products are the same after rotations and reflections,
    determinants after rotations only. All are proportional to the features.
    """

    def __init__(self, dimension: int, before: int, after: int, scales: int) -> None:
        super().__init__()
        self.smoothed = _mixture(dimension, before * (1 + scales), after)
        self.gradients = _mixture(dimension, before * scales, dimension * after)
        self.last = _mixture(dimension, 3 * after, after)

    def forward(self, features: Tensor, smoothed: Tensor, gradients: Tensor) -> Tensor:
        """Return the update of features `(B, C, *shape)`; the others are those of `GaussianDerivatives`."""
        d, pairs = gradients.shape[:2]
        values = self.smoothed(torch.cat([features, smoothed], dim=1)).relu()
        vectors: Tensor = self.gradients(gradients.flatten(0, 1)).unflatten(0, (d, pairs))
        first, *others = vectors.chunk(d, dim=2)
        units = [each / (each.square().sum(dim=0) + SHORT**2).sqrt() for each in others]
        products = (first * units[0]).sum(dim=0)
        mixed: Tensor = self.last(torch.cat([values, products, _determinant(first, units)], dim=1))
        return mixed


def _determinant(first: Tensor, others: list[Tensor]) -> Tensor:
    """Return the determinant of D vectors, whose coordinates are along the first axis."""
    if len(others) == 1:
        return first[0] * others[0][1] - first[1] * others[0][0]
    return (first * torch.linalg.cross(others[0], others[1], dim=0)).sum(dim=0)


def _mixture(dimension: int, before: int, after: int) -> nn.Module:
    return convolution(dimension)(before, after, 1, bias=False, dtype=torch.float32)


def _gaussian(voxels: int, deviation: float) -> tuple[Tensor, Tensor]:
    """Return the matrices `(voxels, voxels)` that smooth, and that smooth and differentiate, times the deviation."""
    # Differences are those of the whole filter, not normalised again at the borders: shifts change nothing.
    reach = torch.arange(-int(8 * deviation) - 1, int(8 * deviation) + 2, dtype=torch.float64)
    positions = torch.arange(voxels, dtype=torch.float64)
    offsets = (positions[:, None] - positions) / deviation
    smooth = (-0.5 * offsets.square()).exp() / (-0.5 * (reach / deviation).square()).exp().sum()
    return smooth, -offsets * smooth


def _standardised(features: Tensor, present: Tensor) -> Tensor:
    """Return the features with mean 0 and variance 1 in each channel of each image, over the voxels that are present.

    They are 0 elsewhere.
    """
    axes = tuple(range(2, features.ndim))
    count = present.sum(dim=axes, keepdim=True).clamp_min(1)
    centred = (features - (features * present).sum(dim=axes, keepdim=True) / count) * present
    return centred / (centred.square().sum(dim=axes, keepdim=True) / count + 1e-6).sqrt()
