"""Coarse search over rotations, for images of very different orientation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nephi.images import Image, ImageSampler, Pyramid
from nephi.losses import similarity
from nephi.preparation import Pair
from nephi.sampling import GridPoints, MaskPoints
from nephi.settings import AffineSettings
from nephi.transforms import AffineTransform

POINTS = 2000  # at which the images are compared
BLUR = 2.0  # times the smoothing of the affine fit's first stage: the candidates are far apart


def candidate_rotations(dimension: int, count: int, largest: float, generator: torch.Generator) -> Tensor:
    """Return rotations `(N, D, D)` by at most `largest` degrees, uniformly distributed; the first is the identity.

    In 3-D N is `count`. In 2-D, with a single axis, fewer are equally dense: N is twice the number along a diameter.
    """
    limit = math.radians(largest)
    if dimension == 2:
        half = round((count * 6 / math.pi) ** (1 / 3))  # diameter, in cells, of a ball of `count` cells
        angles = torch.linspace(-limit, limit, 2 * half + 1, dtype=torch.float64)
        angles = angles[angles.abs().argsort()]
        vectors = angles[:, None]
    else:
        vectors = torch.randn(count, 3, generator=generator, dtype=torch.float64)
        radii = limit * torch.rand(count, 1, generator=generator, dtype=torch.float64) ** (1 / 3)
        vectors = vectors / vectors.norm(dim=1, keepdim=True) * radii
        vectors[0] = 0
    return torch.matrix_exp(_skew(vectors))


def search_rotation(
    pair: Pair, start: AffineTransform, settings: AffineSettings, generator: torch.Generator
) -> AffineTransform:
    """Return `start` preceded by the best of `settings.rotations` rotations around the centre of the fixed points.

    The loss of a candidate is that of the smoothed images at points in and around the fixed mask, plus that of the
    masks if there are both. All candidates are interpolated in one batch.
    """
    rotations = candidate_rotations(pair.fixed.dimension, settings.rotations, settings.reach, generator)
    points, centre = _points_and_centre(pair, generator)
    linear = start.matrix[:-1, :-1] @ rotations
    moving_points = (points - centre).float() @ linear.float().transpose(1, 2) + start(centre).float()
    loss_of = similarity(settings.similarity)
    sigma = BLUR * settings.smoothing[0]
    channels = [(pair.fixed_levels.at(sigma), pair.moving_levels.at(sigma))]
    if pair.fixed_mask is not None and pair.moving_mask is not None:
        channels.append((_blurred(pair.fixed_mask, sigma), _blurred(pair.moving_mask, sigma)))
    losses = torch.zeros(len(rotations), dtype=torch.float32)
    for fixed, moving in channels:
        fixed_values, moving_values = ImageSampler(fixed)(points.float()), ImageSampler(moving)(moving_points)
        losses += torch.stack([loss_of(fixed_values[:, None], values[:, None]) for values in moving_values])
    rotation = rotations[int(losses.argmin())]
    around_centre = torch.eye(len(centre) + 1, dtype=torch.float64)
    around_centre[:-1, :-1], around_centre[:-1, -1] = rotation, centre - rotation @ centre
    return AffineTransform(start.matrix @ around_centre)


def _blurred(mask: Image, sigma: float) -> Image:
    return Pyramid(mask, (0.0, 1.0), detail=sigma).at(sigma)


def _points_and_centre(pair: Pair, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the points to compare, float64, and the centre of rotation."""
    whole = GridPoints(pair.fixed.grid)
    if pair.fixed_mask is None:
        points = whole.draw(POINTS, generator).double()
        return points, points.mean(dim=0)
    inside = MaskPoints(pair.fixed_mask).draw(POINTS // 2, generator).double()
    points = torch.cat([inside, whole.draw(POINTS // 2, generator).double()])
    return points, inside.mean(dim=0)


def _skew(vectors: Tensor) -> Tensor:
    """Return the antisymmetric matrices `(N, D, D)` of rotation vectors `(N, 1)` in 2-D or `(N, 3)` in 3-D."""
    if vectors.shape[1] == 1:
        matrices = vectors.new_zeros(len(vectors), 2, 2)
        matrices[:, 1, 0], matrices[:, 0, 1] = vectors[:, 0], -vectors[:, 0]
        return matrices
    matrices = vectors.new_zeros(len(vectors), 3, 3)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        matrices[:, i, j], matrices[:, j, i] = -vectors[:, k], vectors[:, k]
    return matrices
