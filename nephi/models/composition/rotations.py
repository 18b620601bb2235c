"""Random rotations of images about the centre of their box."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nephi.geometry import Grid, interpolate_batch
from nephi.transforms import AffineMaps


def random_rotations(grid: Grid, degrees: float, generators: Sequence[torch.Generator]) -> AffineMaps:
    """Draw a rotation about the centre of `grid` from each generator, in mm.

    The angle is uniform between -`degrees` and `degrees`, in 3-D about an axis in a uniformly random direction.
    """
    matrices = torch.stack([_random_rotation(grid.dimension, degrees, generator) for generator in generators])
    centre = grid.centre_world()
    return AffineMaps(matrices, centre - matrices @ centre)


def warp_images(images: Tensor, grid: Grid, maps: AffineMaps) -> Tensor:
    """Return `image(map(x))` at the voxels x of `grid` for images `(B, 1, *shape)`, which are 0 outside."""
    points = grid.voxel_centres().to(images).reshape(1, -1, grid.dimension).expand(len(images), -1, -1)
    mapped = maps(points)
    inside = grid.contains_voxel_points(grid.world_to_voxel_points(mapped))
    return (interpolate_batch(images, grid, mapped) * inside.unsqueeze(-1)).reshape(images.shape)


def _random_rotation(dimension: int, degrees: float, generator: torch.Generator) -> Tensor:
    angle = math.radians(degrees) * (2 * torch.rand(1, generator=generator, dtype=torch.float64) - 1)
    skew = torch.zeros(dimension, dimension, dtype=torch.float64)
    axis = torch.randn(3, generator=generator, dtype=torch.float64)
    if dimension == 2:
        skew[0, 1] = angle
    else:
        skew[0, 1], skew[0, 2], skew[1, 2] = angle * axis / axis.norm()
    rotation: Tensor = torch.linalg.matrix_exp(skew - skew.T)
    return rotation
