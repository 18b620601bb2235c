"""The training losses, sampled off the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid, PointMap
from nephi.learning.lookup import look_up
from nephi.learning.steps import Chain
from nephi.losses import diffusion, gradicon, lncc
from nephi.sampling import GridPoints


@dataclass(frozen=True)
class ObjectiveSettings:
    """Weights and numbers of points of the training losses.

    points: random ones for the similarity, in each pair and direction, drawn anew at every step; regular_points: for
    the gradient inverse consistency; gradicon: its weight (NePhi's 10 divides by D^2, this sums over the matrix);
    codes: of the mean |z| (Tian et al., ECCV 2024). diffusion: weight of the mean squared gradient of the displacement,
    the regularity of a displacement network, which looks at all voxels instead.
    """

    points: int = 2000
    regular_points: int = 128
    gradicon: float = 2.5
    codes: float = 0.01
    diffusion: float = 0.1

    def __post_init__(self) -> None:
        weights = self.gradicon, self.codes, self.diffusion
        if self.points < 2 or self.regular_points < 1 or min(weights) < 0:
            raise UsageError(
                f"objective: expected 2 points, 1 regular_points or more, weights of 0 or more, got {self}"
            )


def field_terms(
    phi: Chain,
    inverse: Chain,
    grid: Grid,
    fixed: Tensor,
    moving: Tensor,
    settings: ObjectiveSettings,
    generators: Sequence[torch.Generator],
) -> dict[str, Tensor]:
    """Return the terms of NePhi's loss for images `(B, 1, *shape)` on `grid`; their sum is to be minimised.

    similarity: the mean over both directions of 1 - NCC at random points; gradicon: in both orders; codes: mean |z|.
    Each pair's points come from its own generator, so that they do not depend on which pairs share a batch.
    """

    def drawn(count: int) -> Tensor:
        source = GridPoints(grid)
        return torch.stack([source.draw(count, generator) for generator in generators]).to(fixed)

    def unlike(here: Tensor, there: Tensor, way: PointMap) -> Tensor:
        points = drawn(settings.points)
        return lncc(look_up(here, grid, points), look_up(there, grid, way(points)))

    def irregular(way: Chain, back: Chain) -> Tensor:
        moved, inner = way.value_and_jacobian(drawn(settings.regular_points))
        return gradicon(back.value_and_jacobian(moved)[1], inner)

    return {
        "similarity": (unlike(fixed, moving, phi) + unlike(moving, fixed, inverse)) / 2,
        "gradicon": settings.gradicon * (irregular(phi, inverse) + irregular(inverse, phi)) / 2,
        "codes": settings.codes * phi.magnitude,
    }


def displacement_terms(
    displacement: Tensor, grid: Grid, fixed: Tensor, moving: Tensor, settings: ObjectiveSettings
) -> dict[str, Tensor]:
    """Return the terms of the usual loss of a displacement network: 1 - NCC over all voxels, and diffusion.

    `displacement` is `(B, D, *shape)` in mm on `grid`. diffusion is the mean squared Frobenius norm of its gradient by
    world coordinates, forward differences between voxels.
    """
    points = grid.voxel_centres().to(fixed) + displacement.movedim(1, -1)
    flat = points.reshape(len(fixed), -1, grid.dimension)
    return {
        "similarity": lncc(fixed.flatten(1), look_up(moving, grid, flat)),
        "diffusion": settings.diffusion * diffusion(dense_jacobian(displacement, grid)),
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
