"""Changing the images of a pair at random."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.learning.lookup import look_up
from nephi.learning.training.settings import AugmentSettings
from nephi.transforms import DisplacementField

VISITS = 20  # slopes of bumps are well below 1, so that each visit leaves a part of the error


class View(NamedTuple):
    """One image of a pair on the frame's grid: `values` and `mask` `(1, *shape)`, and its landmarks `(N, D)`, mm.

    `beyond` is what lies outside of the grid.
    """

    values: Tensor
    mask: Tensor | None = None
    landmarks: Tensor | None = None
    beyond: float = 0.0


def augmented(
    fixed: View, moving: View, grid: Grid, settings: AugmentSettings, generator: torch.Generator
) -> tuple[View, View]:
    """Return both images of a pair on `grid`, values from 0 to 1, changed as `settings` say.

    Masks and landmarks go where their images go. The same numbers are drawn whatever the settings are, so that one of
    them can be changed alone.
    """
    turned = _turn(grid.dimension, settings, generator)
    views = []
    for view in (fixed, moving):
        matrix, shift = _affine(grid.dimension, settings, generator)
        bumps = _bumps(grid, settings, generator)
        view = view._replace(values=_toned(view.values, settings, generator))
        view = _carried(view, grid, matrix @ turned, shift, bumps if settings.elastic else None)
        views.append(view._replace(values=_noisy(view.values, settings, generator)))
    return views[0], views[1]


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


def _bumps(grid: Grid, settings: AugmentSettings, generator: torch.Generator) -> DisplacementField:
    """Return a random displacement, linear between nodes about `elastic_spacing` apart."""
    extent = (torch.tensor(grid.shape) - 1) * grid.spacing
    shape = tuple(max(2, round(float(length) / settings.elastic_spacing) + 1) for length in extent)
    scale = [(n - 1) / (m - 1) for n, m in zip(grid.shape, shape, strict=True)]
    coarse = Grid(shape, grid.affine @ torch.diag(torch.tensor([*scale, 1.0], dtype=torch.float64)))
    heights = settings.elastic * torch.randn(*shape, grid.dimension, generator=generator)
    return DisplacementField(heights, coarse)


def _carried(view: View, grid: Grid, matrix: Tensor, shift: Tensor, bumps: DisplacementField | None) -> View:
    """Return the view looked up at `matrix @ (x + bumps(x)) + shift`, about the middle of the grid."""
    d = grid.dimension
    if bool((matrix == torch.eye(d)).all()) and not bool(shift.any()) and bumps is None:
        return view
    centre = grid.centre_world()
    offset = centre + shift - matrix @ centre
    points = grid.voxel_centres().reshape(-1, d)
    if bumps is not None:
        points = bumps(points)
    points = points @ matrix.T.float() + offset.float()
    inside = grid.contains_voxel_points(grid.world_to_voxel_points(points))
    found = look_up(view.values[None], grid, points[None])[0]
    values = torch.where(inside, found, view.beyond).reshape(view.values.shape)
    mask, landmarks = view.mask, view.landmarks
    if mask is not None:
        near = look_up(mask[None].float(), grid, points[None])[0]
        mask = ((near > 0.5) & inside).to(mask.dtype).reshape(mask.shape)
    if landmarks is not None:
        straight = torch.linalg.solve(matrix, (landmarks.double() - offset).T).T.to(landmarks)
        landmarks = straight if bumps is None else _before(bumps, straight)
    return View(values, mask, landmarks, view.beyond)


def _before(bumps: DisplacementField, points: Tensor) -> Tensor:
    """Return x with `bumps(x)` the given points, by iteration; NaN stays NaN."""
    found = points
    for _ in range(VISITS):
        found = points - (bumps(found.nan_to_num(0.0)) - found.nan_to_num(0.0))
    return found


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
