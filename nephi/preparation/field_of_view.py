"""Pairs in which one image shows only a small part of the other."""

from __future__ import annotations

from dataclasses import replace

import torch

from nephi.errors import warn
from nephi.geometry import Grid
from nephi.images import Image
from nephi.metrics import inside_mask
from nephi.preparation.pair import Pair
from nephi.settings import SEARCHED
from nephi.transforms import AffineTransform

SMALL = 0.2  # fraction of the fixed points inside the moving image: below it a fit has almost nothing to compare
MARGIN = 0.1  # of the moving image's size, on each side, because the start is not yet the alignment
INSIDE = 0.8  # fraction of the smaller image inside the larger one according to the headers
STEPS = 8  # sample points of the smaller image along each axis
CELLS = 64  # cells of the mask along each axis


def choose_initial(pair: Pair, initial: str) -> str:
    """Return the initial alignment of the settings, or `none` if centres would belong to different body parts.

    `auto`, `auto-mirrored` and `moments` are replaced if one image has less than `SMALL` of the other's volume, lies
    inside it according to the headers, and at least one image has no mask. Issues a `DataWarning` then.
    """
    small, large = sorted((pair.fixed.grid, pair.moving.grid), key=_volume)
    both_masked = pair.fixed_mask is not None and pair.moving_mask is not None
    if initial not in (*SEARCHED, "moments") or both_masked or _volume(small) >= SMALL * _volume(large):
        return initial
    points = small.divided([STEPS] * small.dimension).voxel_centres()
    inside = large.contains_voxel_points(large.world_to_voxel_points(points)).float().mean()
    if float(inside) < INSIDE:
        return initial
    images, percent = f"{pair.fixed.name} and {pair.moving.name}", 100 * _volume(small) / _volume(large)
    warn(
        f"{images}: one has {percent:.2g} % of the other's volume and lies inside it according to the headers, which "
        f"replace {initial} as initial alignment; select another one by --initial, or give both masks"
    )
    return "none"


def _volume(grid: Grid) -> float:
    return grid.size * float(grid.spacing.prod())


def limit_to_overlap(pair: Pair, start: AffineTransform, fraction: float) -> Pair:
    """Return the pair with a fixed mask around the moving image at the start, if their overlap is small.

    `fraction` is that of the fixed points (in the mask, if there is one) inside the moving image, see
    `require_overlap`. The mask has a coarse grid of its own and a margin around the moving image; an existing mask is
    intersected with it. A pair with a larger overlap, or none, is returned unchanged.
    """
    if fraction >= SMALL:
        return pair
    grid = pair.fixed.grid.divided([min(CELLS, max(1, n - 1)) for n in pair.fixed.grid.shape])
    points = grid.voxel_centres()
    size = torch.tensor(pair.moving.grid.shape, dtype=torch.float32)
    voxels = pair.moving.grid.world_to_voxel_points(start(points))
    inside = ((voxels >= -0.5 - MARGIN * size) & (voxels <= size - 0.5 + MARGIN * size)).all(dim=-1)
    if pair.fixed_mask is not None:
        inside &= inside_mask(pair.fixed_mask, points)
    if not bool(inside.any()):
        return pair
    mask = Image(inside.to(torch.uint8), grid, name=f"part of {pair.fixed.name} that {pair.moving.name} shows")
    return replace(pair, fixed_mask=mask)
