"""Images of a batch at points of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.geometry import Grid


def look_up(images: Tensor, grid: Grid, points: Tensor) -> Tensor:
    """Return images `(B, 1, *shape)` on one grid at world points `(B, N, D)`, linearly interpolated: `(B, N)`.

    Beyond the grid its border continues. Differentiable with respect to points and images.
    """
    size = torch.tensor(grid.shape, dtype=points.dtype, device=points.device) - 1
    unit = 2 * grid.world_to_voxel_points(points) / size - 1
    # grid_sample takes the last axis first.
    where = unit.flip(-1).reshape(len(points), points.shape[1], *(1,) * (grid.dimension - 1), grid.dimension)
    found = torch.nn.functional.grid_sample(images, where, padding_mode="border", align_corners=True)
    return found.reshape(len(points), points.shape[1])
