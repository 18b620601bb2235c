"""The distance of keypoints from known places."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.geometry import Grid

SOFTENING = 1 / 128  # of the mean edge of the box: errors are squared below it, so that the gradient is smooth at 0


def keypoint_distance(found: Tensor, expected: Tensor, grid: Grid) -> Tensor:
    """Return the mean of `sqrt(d^2 + s^2)` over images, d the distances of their keypoints from known places, mm.

    KeyMorph's pre-training (Yu et al., MIDL 2022), which has squares of d instead: these are dominated by keypoints far
    off. s is `SOFTENING` times the mean edge of the box of `grid`. Points are `(B, K, D)`, world mm; one that is
    expected outside of the box, where no keypoint is found, does not count.
    """
    softening = SOFTENING * float((torch.tensor(grid.shape, dtype=torch.float64) * grid.spacing).mean())
    distances = ((found - expected).square().sum(dim=-1) + softening**2).sqrt()
    inside = grid.contains_voxel_points(grid.world_to_voxel_points(expected)).to(distances)
    return ((inside * distances).sum(dim=-1) / inside.sum(dim=-1).clamp_min(1)).mean()
