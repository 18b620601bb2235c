"""The training losses, sampled off the grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid, PointMap
from nephi.learning.lookup import look_up
from nephi.learning.steps import Chain, NephiSteps
from nephi.learning.unet import DisplacementUNet
from nephi.losses import diffusion, gradicon, lncc
from nephi.sampling import GridPoints


@dataclass(frozen=True)
class ObjectiveSettings:
    """Weights and numbers of points of NePhi's training loss (Tian et al., ECCV 2024), drawn anew at every step.

    points: for the similarity, in each pair and direction; regular_points: for the gradient inverse consistency;
    gradicon: its weight (the paper's 10 divides by D^2, this sums over the matrix); codes: of the mean |z|.
    """

    points: int = 2000
    regular_points: int = 128
    gradicon: float = 2.5
    codes: float = 0.01

    def __post_init__(self) -> None:
        if self.points < 2 or self.regular_points < 1 or self.gradicon < 0 or self.codes < 0:
            raise UsageError(
                f"objective: expected 2 points, 1 regular_points or more, weights of 0 or more, got {self}"
            )


def nephi_objective(
    network: NephiSteps, fixed: Tensor, moving: Tensor, settings: ObjectiveSettings, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the terms of the loss for images `(B, 1, *shape)` on the network's grid; their sum is to be minimised.

    similarity: the mean over both directions of 1 - NCC at random points; gradicon: in both orders; codes: mean |z|.
    """
    forward, backward = network(fixed, moving)
    grid, pairs = network.grid, len(fixed)

    def drawn(count: int) -> Tensor:
        points = GridPoints(grid).draw(pairs * count, generator)
        return points.reshape(pairs, count, grid.dimension).to(fixed)

    def unlike(here: Tensor, there: Tensor, phi: PointMap) -> Tensor:
        points = drawn(settings.points)
        return lncc(look_up(here, grid, points), look_up(there, grid, phi(points)))

    def irregular(phi: Chain, psi: Chain) -> Tensor:
        moved, inner = phi.value_and_jacobian(drawn(settings.regular_points))
        return gradicon(psi.value_and_jacobian(moved)[1], inner)

    return {
        "similarity": (unlike(fixed, moving, forward) + unlike(moving, fixed, backward)) / 2,
        "gradicon": settings.gradicon * (irregular(forward, backward) + irregular(backward, forward)) / 2,
        "codes": settings.codes * forward.magnitude,
    }


def unet_objective(
    network: DisplacementUNet, grid: Grid, fixed: Tensor, moving: Tensor, smoothness: float
) -> dict[str, Tensor]:
    """Return the terms of the usual loss of a displacement network: 1 - NCC over all voxels, and diffusion.

    diffusion is the mean squared Frobenius norm of the displacement's gradient by world coordinates, forward
    differences between voxels.
    """
    displacement = network(fixed, moving)
    points = grid.voxel_centres().to(fixed) + displacement.movedim(1, -1)
    flat = points.reshape(len(fixed), -1, grid.dimension)
    return {
        "similarity": lncc(fixed.flatten(1), look_up(moving, grid, flat)),
        "diffusion": smoothness * diffusion(dense_jacobian(displacement, grid)),
    }


def dense_jacobian(displacement: Tensor, grid: Grid) -> Tensor:
    """Return `I + du/dx` `(B, M, D, D)` of a displacement `(B, D, *shape)` in mm on a grid, at the M inner voxels.

    Forward differences between voxels; the last slice along each axis is left out.
    """
    d = grid.dimension
    slopes = [displacement.diff(dim=2 + axis)[_inner(d, axis)] for axis in range(d)]
    by_voxel = torch.stack(slopes, dim=-1).flatten(2, -2).transpose(1, 2)  # (B, M, D, D): derivative by voxel axis last
    to_voxel = grid.inverse_affine[:-1, :-1].to(displacement)
    return torch.eye(d).to(displacement) + by_voxel @ to_voxel


def _inner(dimension: int, axis: int) -> tuple[slice, ...]:
    """Leave out the last slice of every axis but the one that differences have shortened."""
    every = slice(None)
    return (every, every, *(every if a == axis else slice(None, -1) for a in range(dimension)))
