"""Changing the images of a pair at random."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nephi.geometry import Grid
from nephi.learning.training.settings import AugmentSettings, WarpSettings
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
    fixed: View, moving: View, grid: Grid, settings: AugmentSettings, generator: torch.Generator, both: torch.Generator
) -> tuple[View, View]:
    """Return both images of a pair on `grid`, values from 0 to 1, changed as `settings` say.

    Masks and landmarks go where their images go. The map that both share is drawn from a generator of its own, `both`.
    """
    turned = _turn(grid.dimension, settings, generator)
    shared = _warp(grid, settings.both, both)
    views = []
    for view in (fixed, moving):
        own = _warp(grid, settings, generator)
        view = _carried(view, grid, _after(shared, own, turned))
        view = view._replace(values=_toned(view.values, settings, generator))
        views.append(view._replace(values=_noisy(view.values, settings, generator)))
    return views[0], views[1]


class _Warp(NamedTuple):
    """A map of points: `matrix @ (x + sum of bumps at x) + shift`, about the middle of the grid, in mm."""

    matrix: Tensor
    shift: Tensor
    bumps: tuple[DisplacementField, ...]

    @property
    def still(self) -> bool:
        return not self.bumps and bool((self.matrix == torch.eye(len(self.matrix))).all() and not self.shift.any())


def _warp(grid: Grid, settings: WarpSettings, generator: torch.Generator) -> _Warp:
    matrix, shift = _affine(grid.dimension, settings, generator)
    bumps = _bumps(grid, settings, generator)
    return _Warp(matrix, shift, (bumps,) if settings.elastic else ())


def _after(shared: _Warp, own: _Warp, turned: Tensor) -> _Warp:
    """Return what takes points through an image's own map, then through the one that both share.

    Bumps of both are added where the points are at first, so that one lookup does for all of it.
    """
    shift = shared.matrix @ own.shift + shared.shift
    return _Warp(shared.matrix @ own.matrix @ turned, shift, own.bumps + shared.bumps)


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


def _affine(dimension: int, settings: WarpSettings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
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


def _bumps(grid: Grid, settings: WarpSettings, generator: torch.Generator) -> DisplacementField:
    """Return a random displacement, linear between nodes about `elastic_spacing` apart."""
    extent = (torch.tensor(grid.shape) - 1) * grid.spacing
    shape = tuple(max(2, int(float(length) / settings.elastic_spacing) + 1) for length in extent)
    scale = [(n - 1) / (m - 1) for n, m in zip(grid.shape, shape, strict=True)]
    coarse = Grid(shape, grid.affine @ torch.diag(torch.tensor([*scale, 1.0], dtype=torch.float64)))
    heights = settings.elastic * torch.randn(*shape, grid.dimension, generator=generator)
    return DisplacementField(heights, coarse)


def _carried(view: View, grid: Grid, warp: _Warp) -> View:
    """Return the view looked up where `warp` takes the voxels of `grid`."""
    if warp.still:
        return view
    centre = grid.centre_world()
    offset = centre + warp.shift - warp.matrix @ centre
    where = _unit_cube(grid, warp, offset)
    seen = [view.values - view.beyond] if view.mask is None else [view.values - view.beyond, view.mask.float()]
    found = nn.functional.grid_sample(torch.cat(seen)[None], where, align_corners=True)[0]  # 0 beyond the border
    mask, landmarks = view.mask, view.landmarks
    if mask is not None:
        mask = (found[1:] > 0.5).to(mask.dtype)
    if landmarks is not None:
        straight = torch.linalg.solve(warp.matrix, (landmarks.double() - offset).T).T.to(landmarks)
        landmarks = _before(warp.bumps, straight)
    return View(found[:1] + view.beyond, mask, landmarks, view.beyond)


def _unit_cube(grid: Grid, warp: _Warp, offset: Tensor) -> Tensor:
    """Return where voxels are looked up as `grid_sample` takes it, `(1, *shape, D)` in [-1, 1], the last axis first."""
    d = grid.dimension
    world = torch.eye(d + 1, dtype=torch.float64)
    world[:d, :d], world[:d, d] = warp.matrix, offset
    to_cube = torch.zeros(d + 1, d + 1, dtype=torch.float64)  # from voxels
    to_cube[:d, :d] = torch.diag(2 / (torch.tensor(grid.shape) - 1.0)).flip(0)
    to_cube[:d, d], to_cube[d, d] = -1, 1
    by_world = to_cube @ grid.inverse_affine @ world
    theta = (by_world @ grid.affine @ torch.linalg.inv(to_cube))[None, :d].float()
    where = nn.functional.affine_grid(theta, [1, 1, *grid.shape], align_corners=True)
    mode = "bilinear" if d == 2 else "trilinear"
    for bumps in warp.bumps:
        heights = (bumps.displacement.double() @ by_world[:d, :d].T).float().movedim(-1, 0)[None]
        moved = nn.functional.interpolate(heights, size=grid.shape, mode=mode, align_corners=True)
        where = where + moved.movedim(1, -1)
    return where


def _before(bumps: tuple[DisplacementField, ...], points: Tensor) -> Tensor:
    """Return x with `x + sum of bumps at x` the given points, by iteration; NaN stays NaN."""
    found = points
    for _ in range(VISITS if bumps else 0):
        known = found.nan_to_num(0.0)
        found = points - sum((each(known) - known for each in bumps), start=torch.zeros_like(points))
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
