"""How well two maps undo each other."""

from __future__ import annotations

import torch

from nephi.geometry import Grid, PointMap
from nephi.images import Image
from nephi.metrics.regularity import voxel_centres_inside


def inverse_consistency_error(
    transform: PointMap, inverse: PointMap, grid: Grid, mask: Image | None = None
) -> float:
    """Return the mean of `|inverse(transform(x)) - x|` in mm over the voxel centres x of `grid` (inside `mask`).

    Nothing is solved or polished here: both maps are taken as they are.
    """
    total, count = 0.0, 0
    with torch.no_grad():
        for points in voxel_centres_inside(grid, mask):
            total += float((inverse(transform(points)) - points).norm(dim=-1).double().sum())
            count += len(points)
    return total / max(count, 1)
