"""Equivariance of registrations: how far the prediction follows maps of the images, in mm."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.transforms import AffineMaps, Maps


def equivariance_error(
    prediction: Maps,
    warped_prediction: Maps,
    moving_warp: AffineMaps,
    fixed_warp: AffineMaps,
    points: Tensor,
    grid: Grid,
) -> Tensor:
    """Return the mean of `|phi'(x) - W^-1(phi(U(x)))|` over points x of each of B pairs, `(B,)`, mm.

    phi is the `prediction` for images A (moving) and B (fixed) on `grid`, phi' the `warped_prediction` for A o W and
    B o U, with `moving_warp` W and `fixed_warp` U. A registration is [U, U]-equivariant if the distance is 0 for W = U,
    [W, U]-equivariant if it is 0 for different W and U (Greer et al., CVPR 2025: CARL).

    `points` are `(B, N, D)`, mm. Those count for which x, U(x), phi(U(x)) and its image by W^-1 lie within the grid;
    NaN for a pair without any.
    """
    with torch.no_grad():
        in_fixed = fixed_warp(points)
        in_moving = prediction(in_fixed)
        expected = moving_warp.inverse()(in_moving)
        distances = (warped_prediction(points) - expected).norm(dim=-1)
        positions = torch.stack([points, in_fixed, in_moving, expected])
        counted = grid.contains_voxel_points(grid.world_to_voxel_points(positions)).all(dim=0)
        return (distances * counted).sum(dim=1) / counted.sum(dim=1)
