"""Random maps of points: affine maps, permuted and mirrored axes, smooth displacements."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.sampling import random_rotation
from nephi.training.augmentation_settings import AugmentationSettings, WarpSettings
from nephi.transforms import DisplacementField


class RandomMap(NamedTuple):
    """A map of points, mm: `matrix @ (x + sum of displacements at x) + shift`, about the centre of the grid."""

    matrix: Tensor
    shift: Tensor
    displacements: tuple[DisplacementField, ...]

    @property
    def is_identity(self) -> bool:
        """Whether no point moves."""
        identity = torch.eye(len(self.matrix), dtype=self.matrix.dtype)
        return not self.displacements and torch.equal(self.matrix, identity) and not bool(self.shift.any())


def random_map(grid: Grid, settings: WarpSettings, generator: torch.Generator) -> RandomMap:
    """Draw an affine map and a smooth displacement of the sizes in `settings`.

    The number of random values does not depend on the settings.
    """
    matrix, shift = _random_affine(grid.dimension, settings, generator)
    displacement = _random_displacement(grid, settings, generator)
    return RandomMap(matrix, shift, (displacement,) if settings.elastic else ())


def compose_maps(image_map: RandomMap, shared: RandomMap, axes: Tensor) -> RandomMap:
    """Return the composition of the matrix `axes`, `image_map` of a single image, and the map that both images share.

    The displacements of both maps are added at the original points, so that an image is interpolated once.
    """
    shift = shared.matrix @ image_map.shift + shared.shift
    return RandomMap(shared.matrix @ image_map.matrix @ axes, shift, image_map.displacements + shared.displacements)


def random_axes(dimension: int, settings: AugmentationSettings, generator: torch.Generator) -> Tensor:
    """Draw a matrix that permutes axes and mirrors them."""
    order = torch.randperm(dimension, generator=generator)
    signs = torch.randint(2, (dimension,), generator=generator) * 2 - 1
    matrix = torch.eye(dimension, dtype=torch.float64)
    if settings.permute:
        matrix = matrix[order]
    return matrix * signs if settings.flip else matrix


def uniform(count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` numbers between -1 and 1, float64."""
    return 2 * torch.rand(count, generator=generator, dtype=torch.float64) - 1


def _random_affine(dimension: int, settings: WarpSettings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw rotation, shear and scale as one matrix, and a shift in mm."""
    d = dimension
    above = torch.triu_indices(d, d, 1)
    rotation = random_rotation(d, settings.rotation, generator)
    slopes = settings.shear * uniform(len(above[0]), generator)
    scales = (settings.scale * uniform(d, generator)).exp()
    shift = settings.shift * uniform(d, generator)
    shear = torch.eye(d, dtype=torch.float64)
    shear[above[0], above[1]] = slopes
    return rotation @ shear @ scales.diag(), shift


def _random_displacement(grid: Grid, settings: WarpSettings, generator: torch.Generator) -> DisplacementField:
    """Draw a displacement that is linear between nodes about `elastic_spacing` apart."""
    extent = (torch.tensor(grid.shape, dtype=torch.int64) - 1) * grid.spacing
    shape = tuple(max(2, int(float(length) / settings.elastic_spacing) + 1) for length in extent)
    scale = [(n - 1) / (m - 1) for n, m in zip(grid.shape, shape, strict=True)]
    coarse = Grid(shape, grid.affine @ torch.diag(torch.tensor([*scale, 1.0], dtype=torch.float64)))
    normal = torch.randn(*shape, grid.dimension, generator=generator, dtype=torch.float32)
    return DisplacementField(settings.elastic * normal, coarse)
