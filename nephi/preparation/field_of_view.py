"""Images of which one shows a small part of the other."""

from __future__ import annotations

from dataclasses import replace

import torch

from nephi.errors import warn
from nephi.geometry import Grid
from nephi.images import Image
from nephi.metrics import inside_mask
from nephi.preparation.pair import Pair
from nephi.transforms import AffineTransform

FEW = 0.2  # of the fixed points inside the moving image: fewer would leave a fit with next to none to compare
MARGIN = 0.1  # of the moving image's size, on either side: the start is not yet the alignment
INSIDE = 0.8  # of the smaller image inside the larger one, by the headers
STEPS = 8  # along each axis, at which the smaller one is looked at
CELLS = 64  # along each axis of the mask


def choose_initial(pair: Pair, initial: str) -> str:
    """Return the initial alignment of the settings, or `none` where centres of mass would be those of unlike parts.

    That is where one image has less than `FEW` of the other's volume and lies inside it by the headers, without masks
    of both. A `DataWarning` says so.
    """
    small, large = sorted((pair.fixed.grid, pair.moving.grid), key=_volume)
    masked = pair.fixed_mask is not None and pair.moving_mask is not None
    if initial != "moments" or masked or _volume(small) >= FEW * _volume(large):
        return initial
    points = small.divided([STEPS] * small.dimension).voxel_centres()
    inside = large.contains_voxel_points(large.world_to_voxel_points(points)).float().mean()
    if float(inside) < INSIDE:
        return initial
    images, share = f"{pair.fixed.name} and {pair.moving.name}", 100 * _volume(small) / _volume(large)
    warn(
        f"{images}: one shows {share:.2g} % of the other's volume and lies inside it by the headers: started there, "
        "not at centres of mass, which are those of unlike parts; give --initial to start elsewhere, or masks of both"
    )
    return "none"


def _volume(grid: Grid) -> float:
    return grid.size * float(grid.spacing.prod())


def limit_to_overlap(pair: Pair, start: AffineTransform, share: float) -> Pair:
    """Return the pair with a fixed mask where the moving image lies at the start, if that is a small part.

    `share` is that of the fixed points (inside the mask, where there is one) that lie in the moving image. The mask
    lies on a coarse grid of its own, with a margin around the moving image; a given one is kept inside of it. A pair
    with a larger overlap, or none, is returned as it is.
    """
    if share >= FEW:
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
