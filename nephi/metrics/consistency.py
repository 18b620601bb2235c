"""Inverse consistency of a transform and an inverse."""

from __future__ import annotations

import torch

from nephi.errors import DataError
from nephi.geometry import Grid, PointMap
from nephi.images import Image
from nephi.metrics.regularity import voxel_centres_inside


def inverse_consistency_error(
    transform: PointMap, inverse: PointMap, grid: Grid, mask: Image | None = None, domain: Grid | None = None
) -> float:
    """Return the mean of `|inverse(transform(x)) - x|` in mm over the voxel centres x of `grid` (inside `mask`).

    Both maps are evaluated as given; the inverse is not refined first. With `domain`, the grid of a stored inverse
    field, points that the transform maps outside of that grid are left out: the stored field is 0 there.

    Raises `DataError` when no point remains.
    """
    total, count = 0.0, 0
    with torch.no_grad():
        for points in voxel_centres_inside(grid, mask):
            displaced = transform(points)
            errors = (inverse(displaced) - points).norm(dim=-1).double()
            if domain is not None:
                errors = errors[domain.contains_voxel_points(domain.world_to_voxel_points(displaced))]
            total += float(errors.sum())
            count += len(errors)
    if count == 0:
        raise DataError("inverse consistency: expected at least one voxel to evaluate, found none: is the mask empty?")
    return total / count
