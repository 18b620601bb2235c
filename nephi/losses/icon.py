"""Inverse consistency of two maps, measured at points."""

from __future__ import annotations

from torch import Tensor

from nephi.errors import UsageError
from nephi.losses.shapes import check_points


def icon(composed: Tensor, points: Tensor) -> Tensor:
    """Return the inverse consistency loss of ICON, `mean_x |phi_inv(phi(x)) - x|^2`.

    After Greer et al. (ICCV 2021). `composed` is phi_inv(phi(x)) and `points` is x, both `(..., N, D)` in
    world millimetres. The sum runs over coordinates, the mean over points (and batches). The evaluation at random
    points off the grid is what regularises.

    The result is a scalar in mm^2: 0 if phi_inv inverts phi at the points. Raises `UsageError` when shapes
    differ or are not `(..., N, D)`.
    """
    check_points(points, "points")
    if composed.shape != points.shape:
        raise UsageError(f"composed: expected the shape of points, {tuple(points.shape)}, got {tuple(composed.shape)}")
    return (composed - points).square().sum(-1).mean()
