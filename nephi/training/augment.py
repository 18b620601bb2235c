"""Changing the images of a pair at random."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nephi.geometry import Grid
from nephi.training.random_maps import RandomMap, joined, random_map, random_turn, uniform
from nephi.training.settings import AugmentationSettings
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
    fixed: View,
    moving: View,
    grid: Grid,
    settings: AugmentationSettings,
    generator: torch.Generator,
    both: torch.Generator,
) -> tuple[View, View]:
    """Return both images of a pair on `grid`, values from 0 to 1, changed as `settings` say.

    Masks and landmarks go where their images go. The map that both share is drawn from a generator of its own, `both`.
    """
    turned = random_turn(grid.dimension, settings, generator)
    shared = random_map(grid, settings.both, both)
    views = []
    for view in (fixed, moving):
        own = random_map(grid, settings, generator)
        view = _carried(view, grid, joined(own, shared, turned))
        view = view._replace(values=_toned(view.values, settings, generator))
        views.append(view._replace(values=_noisy(view.values, settings, generator)))
    return views[0], views[1]


def _carried(view: View, grid: Grid, warp: RandomMap) -> View:
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


def _unit_cube(grid: Grid, warp: RandomMap, offset: Tensor) -> Tensor:
    """Return where voxels are looked up as `grid_sample` takes it, `(1, *shape, D)` in [-1, 1], the last axis first."""
    d = grid.dimension
    world = torch.eye(d + 1, dtype=torch.float64)
    world[:d, :d], world[:d, d] = warp.matrix, offset
    to_cube = torch.zeros(d + 1, d + 1, dtype=torch.float64)  # from voxels
    to_cube[:d, :d] = torch.diag(2 / (torch.tensor(grid.shape, dtype=torch.float64) - 1)).flip(0)
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


def _toned(image: Tensor, settings: AugmentationSettings, generator: torch.Generator) -> Tensor:
    gamma, contrast, brightness = uniform(3, generator).tolist()
    if not (settings.gamma or settings.contrast or settings.brightness):
        return image
    bent = image ** math.exp(settings.gamma * gamma)
    return ((1 + settings.contrast * contrast) * bent + settings.brightness * brightness).clamp(0, 1)


def _noisy(image: Tensor, settings: AugmentationSettings, generator: torch.Generator) -> Tensor:
    if not settings.noise:
        return image
    spread = settings.noise * float(torch.rand(1, generator=generator, dtype=torch.float32))
    return (image + spread * torch.randn(image.shape, generator=generator, dtype=torch.float32)).clamp(0, 1)
