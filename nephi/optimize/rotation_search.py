"""A coarse search over rotations, for images that lie far from each other's orientation."""

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

POINTS = 2000  # compared under every rotation
BLUR = 2.0  # times the smoothing of the affine fit's first stage, whose capture range has to span the candidates' gaps


def candidate_rotations(dimension: int, count: int, reach: float, generator: torch.Generator) -> Tensor:
    """Return rotations `(N, D, D)` by at most `reach` degrees, spread evenly over their axes; the first is I.

    In 3-D N is `count`. In 2-D there is one axis, and far fewer lie as close: twice as many as that are returned.
    """
    limit = math.radians(reach)
    if dimension == 2:
        half = round((count * 6 / math.pi) ** (1 / 3))  # `count` cells fill a ball; its diameter is so many cells long
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
    """Return the most promising of `settings.rotations` rotations of `start` about the middle of the fixed points.

    Every candidate is judged by the similarity of the smoothed images at points in and around the fixed mask, plus that
    of the masks themselves where both are known. One batched lookup judges them all.
    """
    rotations = candidate_rotations(pair.fixed.dimension, settings.rotations, settings.reach, generator)
    points, centre = _points(pair, generator)
    linear = start.matrix[:-1, :-1] @ rotations
    moved = (points - centre).float() @ linear.float().transpose(1, 2) + start(centre).float()
    loss_of = similarity(settings.similarity)
    sigma = BLUR * settings.smoothing[0]
    channels = [(pair.fixed_levels.at(sigma), pair.moving_levels.at(sigma))]
    if pair.fixed_mask is not None and pair.moving_mask is not None:
        channels.append((_blurred(pair.fixed_mask, sigma), _blurred(pair.moving_mask, sigma)))
    total = torch.zeros(len(rotations), dtype=torch.float32)
    for fixed, moving in channels:
        here, there = ImageSampler(fixed)(points.float()), ImageSampler(moving)(moved)
        total += torch.stack([loss_of(here[:, None], values[:, None]) for values in there])
    rotation = rotations[int(total.argmin())]
    about = torch.eye(len(centre) + 1, dtype=torch.float64)
    about[:-1, :-1], about[:-1, -1] = rotation, centre - rotation @ centre
    return AffineTransform(start.matrix @ about)


def _blurred(mask: Image, sigma: float) -> Image:
    return Pyramid(mask, (0.0, 1.0), detail=sigma).at(sigma)


def _points(pair: Pair, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return points to compare, float64, and the middle to rotate about."""
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
