"""How well two maps undo each other."""

from __future__ import annotations

import torch

from nephi.errors import DataError
from nephi.geometry import Grid, PointMap
from nephi.images import Image
from nephi.metrics.regularity import voxel_centres_inside


def inverse_consistency_error(
    transform: PointMap, inverse: PointMap, grid: Grid, mask: Image | None = None, reach: Grid | None = None
) -> float:
    """Return the mean of `|inverse(transform(x)) - x|` in mm over the voxel centres x of `grid` (inside `mask`).

    Both maps are taken as they are: nothing is solved or polished for it. `reach` leaves out points that the transform
    takes beyond that grid: there a stored inverse field is 0 and says nothing.

    Raises `DataError` when no point is left.
    """
    total, count = 0.0, 0
    with torch.no_grad():
        for points in voxel_centres_inside(grid, mask):
            moved = transform(points)
            gap = (inverse(moved) - points).norm(dim=-1).double()
            if reach is not None:
                gap = gap[reach.contains_voxel_points(reach.world_to_voxel_points(moved))]
            total += float(gap.sum())
            count += len(gap)
    if count == 0:
        raise DataError("expected voxels to measure the inverse consistency at, found none: is the mask empty?")
    return total / count
