"""Images and random rotations about the centre of their box."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nephi.geometry import Grid, interpolate_batch
from nephi.sampling import random_rotation
from nephi.transforms import AffineMaps


def random_rotations(grid: Grid, degrees: float, generators: Sequence[torch.Generator]) -> AffineMaps:
    """Draw a rotation about the centre of `grid` from each generator, in mm, as `nephi.sampling.random_rotation`."""
    matrices = torch.stack([random_rotation(grid.dimension, degrees, generator) for generator in generators])
    centre = grid.centre_world()
    return AffineMaps(matrices, centre - matrices @ centre)


def warp_images(images: Tensor, grid: Grid, maps: AffineMaps, outside: float = 0.0) -> Tensor:
    """Return `image(map(x))` at the voxels x of `grid` for images `(B, 1, *shape)`, which are `outside` beyond it."""
    points = grid.voxel_centres().to(images).reshape(1, -1, grid.dimension).expand(len(images), -1, -1)
    mapped = maps(points)
    inside = grid.contains_voxel_points(grid.world_to_voxel_points(mapped))
    warped = torch.where(inside.unsqueeze(-1), interpolate_batch(images, grid, mapped), outside)
    return warped.reshape(images.shape)
