"""Maps of points drawn at random: affine ones, axes exchanged, bumps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.training.settings import AugmentationSettings, WarpSettings
from nephi.transforms import DisplacementField


class RandomMap(NamedTuple):
    """A map of points: `matrix @ (x + sum of bumps at x) + shift`, about the middle of the grid, in mm."""

    matrix: Tensor
    shift: Tensor
    bumps: tuple[DisplacementField, ...]

    @property
    def still(self) -> bool:
        """Whether every point stays where it is."""
        straight = torch.equal(self.matrix, torch.eye(len(self.matrix), dtype=self.matrix.dtype))
        return not self.bumps and straight and not bool(self.shift.any())


def random_map(grid: Grid, settings: WarpSettings, generator: torch.Generator) -> RandomMap:
    """Draw an affine map and bumps as large as `settings` say; as many numbers are drawn whatever they leave out."""
    matrix, shift = _affine(grid.dimension, settings, generator)
    bumps = _bumps(grid, settings, generator)
    return RandomMap(matrix, shift, (bumps,) if settings.elastic else ())


def joined(own: RandomMap, shared: RandomMap, turned: Tensor) -> RandomMap:
    """Return what takes points through `turned`, an image's own map, then the one that both images share.

    Bumps of both are added where the points are at first, so that one lookup does for all of it.
    """
    shift = shared.matrix @ own.shift + shared.shift
    return RandomMap(shared.matrix @ own.matrix @ turned, shift, own.bumps + shared.bumps)


def random_turn(dimension: int, settings: AugmentationSettings, generator: torch.Generator) -> Tensor:
    """Return a matrix that exchanges axes and turns them over."""
    order = torch.randperm(dimension, generator=generator)
    signs = torch.randint(2, (dimension,), generator=generator) * 2 - 1
    matrix = torch.eye(dimension, dtype=torch.float64)
    if settings.permute:
        matrix = matrix[order]
    return matrix * signs if settings.flip else matrix


def uniform(count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` numbers between -1 and 1, float64."""
    return 2 * torch.rand(count, generator=generator, dtype=torch.float64) - 1


def _affine(dimension: int, settings: WarpSettings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return rotation, shear and scale as one matrix, and a shift in mm."""
    d = dimension
    above = torch.triu_indices(d, d, 1)
    axis = torch.randn(len(above[0]), generator=generator, dtype=torch.float64)
    axis = axis / axis.norm()  # in 2-D: 1 or -1
    angle = torch.deg2rad(settings.rotation * uniform(1, generator))
    slopes = settings.shear * uniform(len(axis), generator)
    scales = (settings.scale * uniform(d, generator)).exp()
    shift = settings.shift * uniform(d, generator)
    turning = torch.zeros(d, d, dtype=torch.float64)
    turning[above[0], above[1]] = angle * axis
    shear = torch.eye(d, dtype=torch.float64)
    shear[above[0], above[1]] = slopes
    return torch.linalg.matrix_exp(turning - turning.T) @ shear @ scales.diag(), shift


def _bumps(grid: Grid, settings: WarpSettings, generator: torch.Generator) -> DisplacementField:
    """Return a random displacement, linear between nodes about `elastic_spacing` apart."""
    extent = (torch.tensor(grid.shape, dtype=torch.int64) - 1) * grid.spacing
    shape = tuple(max(2, int(float(length) / settings.elastic_spacing) + 1) for length in extent)
    scale = [(n - 1) / (m - 1) for n, m in zip(grid.shape, shape, strict=True)]
    coarse = Grid(shape, grid.affine @ torch.diag(torch.tensor([*scale, 1.0], dtype=torch.float64)))
    heights = torch.randn(*shape, grid.dimension, generator=generator, dtype=torch.float32)
    return DisplacementField(settings.elastic * heights, coarse)
