"""Changing the images of a pair at random."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.learning.frame import Seen
from nephi.learning.lookup import look_up
from nephi.learning.training.settings import AugmentSettings


def augmented(
    fixed: Seen, moving: Seen, grid: Grid, settings: AugmentSettings, generator: torch.Generator
) -> tuple[Seen, Seen]:
    """Return what the network sees of a pair, on `grid`, values from 0 to 1, changed as `settings` say; masks go along.

    The same numbers are drawn whatever the settings are, so that one of them can be changed alone.
    """
    turned = _turn(grid.dimension, settings, generator)
    changed = []
    for seen in (fixed, moving):
        matrix, shift = _affine(grid.dimension, settings, generator)
        matrix = matrix @ turned
        values = _carried(_toned(seen.values, settings, generator), grid, matrix, shift)
        mask = seen.mask
        if mask is not None:
            mask = (_carried(mask.float(), grid, matrix, shift) > 0.5).to(torch.uint8)
            mask = mask if bool(mask.any()) else torch.ones_like(mask)  # moved out of the frame: anywhere is as good
        changed.append(Seen(_noisy(values, settings, generator), seen.centre, mask))
    return changed[0], changed[1]


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(count, generator=generator, dtype=torch.float64) - 1


def _turn(dimension: int, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """Return a matrix that exchanges axes and turns them over."""
    order = torch.randperm(dimension, generator=generator)
    signs = torch.randint(2, (dimension,), generator=generator) * 2 - 1
    matrix = torch.eye(dimension, dtype=torch.float64)
    if settings.permute:
        matrix = matrix[order]
    return matrix * signs if settings.flip else matrix


def _affine(dimension: int, settings: AugmentSettings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return rotation, shear and scale as one matrix, and a shift in mm."""
    d = dimension
    above = torch.triu_indices(d, d, 1)
    axis = torch.randn(len(above[0]), generator=generator, dtype=torch.float64)
    axis = axis / axis.norm()  # in 2-D: 1 or -1
    angle = torch.deg2rad(settings.rotation * _uniform(1, generator))
    slopes = settings.shear * _uniform(len(axis), generator)
    scales = (settings.scale * _uniform(d, generator)).exp()
    shift = settings.shift * _uniform(d, generator)
    turning = torch.zeros(d, d, dtype=torch.float64)
    turning[above[0], above[1]] = angle * axis
    shear = torch.eye(d, dtype=torch.float64)
    shear[above[0], above[1]] = slopes
    return torch.linalg.matrix_exp(turning - turning.T) @ shear @ scales.diag(), shift


def _carried(image: Tensor, grid: Grid, matrix: Tensor, shift: Tensor) -> Tensor:
    """Return the image looked up at `matrix @ x + shift`, about the middle of the grid; 0 beyond its border."""
    d = grid.dimension
    if bool((matrix == torch.eye(d)).all()) and not bool(shift.any()):
        return image
    centre = grid.centre_world()
    offset = centre + shift - matrix @ centre
    points = grid.voxel_centres().reshape(-1, d) @ matrix.T.float() + offset.float()
    inside = grid.contains_voxel_points(grid.world_to_voxel_points(points))
    return (look_up(image[None], grid, points[None])[0] * inside).reshape(image.shape)


def _toned(image: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    gamma, contrast, brightness = _uniform(3, generator).tolist()
    if not (settings.gamma or settings.contrast or settings.brightness):
        return image
    bent = image ** float(torch.tensor(settings.gamma * gamma).exp())
    return ((1 + settings.contrast * contrast) * bent + settings.brightness * brightness).clamp(0, 1)


def _noisy(image: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    if not settings.noise:
        return image
    spread = settings.noise * float(torch.rand(1, generator=generator))
    return (image + spread * torch.randn(image.shape, generator=generator)).clamp(0, 1)
