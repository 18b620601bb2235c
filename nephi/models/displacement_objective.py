"""The loss of networks that give a displacement for every voxel."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.geometry import Grid, interpolate_batch
from nephi.losses import diffusion, lncc
from nephi.models.objectives import PairBatch, landmark_distance
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import DisplacementMaps


def displacement_terms(
    displacement: DisplacementMaps, batch: PairBatch, settings: TrainingObjectiveSettings
) -> dict[str, Tensor]:
    """Return the terms of the usual loss of a displacement network: 1 - NCC over all voxels, and diffusion.

    diffusion is the mean squared Frobenius norm of the displacement's gradient by world coordinates, forward
    differences between voxels; landmarks as in `FieldObjective`, one way.
    """
    u, grid = displacement.displacement, displacement.grid
    points = grid.voxel_centres().to(u) + u.movedim(1, -1)
    warped = interpolate_batch(batch.moving, grid, points.reshape(len(points), -1, grid.dimension)).squeeze(-1)
    terms = {
        "similarity": lncc(batch.fixed.flatten(1), warped),
        "diffusion": settings.diffusion * diffusion(dense_jacobian(u, grid)),
    }
    if settings.landmarks and batch.fixed_landmarks is not None and batch.moving_landmarks is not None:
        terms["landmarks"] = settings.landmarks * landmark_distance(
            displacement, batch.fixed_landmarks, batch.moving_landmarks
        )
    return terms


def dense_jacobian(displacement: Tensor, grid: Grid) -> Tensor:
    """Return `I + du/dx` `(B, M, D, D)` of a displacement `(B, D, *shape)` in mm on a grid, at the M inner voxels.

    Forward differences between voxels; the last slice along each axis is left out.
    """
    d = grid.dimension
    slopes = [displacement.diff(dim=2 + axis)[_inner(d, axis)] for axis in range(d)]
    by_voxel = torch.stack(slopes, dim=-1).flatten(2, -2).transpose(1, 2)  # (B, M, D, D): derivative by voxel axis last
    to_voxel = grid.inverse_affine[:-1, :-1].to(displacement)
    return torch.eye(d, dtype=displacement.dtype, device=displacement.device) + by_voxel @ to_voxel


def _inner(dimension: int, axis: int) -> tuple[slice, ...]:
    """Leave out the last slice of every axis but the one that differences have shortened."""
    every = slice(None)
    return (every, every, *(every if a == axis else slice(None, -1) for a in range(dimension)))
