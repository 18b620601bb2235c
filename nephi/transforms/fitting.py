"""The grid on which a displacement field approximates a transform between its nodes as well."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.transforms.transform import Transform

POINTS = 200_000  # at which the deviation is measured
BLOCK = 50_000  # of them at once, each with the nodes around it
MOST_STEPS = 8  # into which a cell is divided
MOST_NODES = 64  # for each voxel of the reference; larger files are impractical


@dataclass(frozen=True, eq=False)
class FittingGrid:
    """A grid for a displacement field, and the deviation of the field from its transform between the nodes.

    `deviation` is the largest distance measured at `POINTS` random points, mm. `steps` is the number of steps that each
    cell of the transform (or voxel of the reference) was divided into along each axis.
    """

    grid: Grid
    steps: int
    deviation: float


@torch.no_grad()
def fitting_grid(transform: Transform, reference: Grid, tolerance: float) -> FittingGrid:
    """Return the coarsest grid found on which a displacement field stays within `tolerance` mm of a transform.

    Fields are interpolated linearly. The grid covers all voxel centres of `reference`; its planes are those at which
    the transform is not smooth (`Transform.cells`) and others at equal distances between them, up to 8 steps a cell;
    for a transform without such planes, those of the reference and others between them. The deviation is measured, not
    proved: the largest at 200,000 random points between the reference's outermost voxel centres, the same each time.

    Raises `UsageError` unless `tolerance` is above 0, `DataError` for another dimension, or when no grid of up to 8
    steps a cell, and up to 64 nodes for each voxel of the reference, suffices.
    """
    if not 0 < tolerance < math.inf:
        raise UsageError(f"tolerance: expected millimetres above 0, got {tolerance:g}")
    if reference.dimension != transform.dimension:
        raise DataError(
            f"expected a {transform.dimension}-D reference, like the transform, found {reference.dimension}-D"
        )
    base = transform.cells or reference
    points = _random_points(reference)
    least = math.inf
    for steps in range(1, MOST_STEPS + 1):
        grid = base.divided([steps * max(1, n - 1) for n in base.shape]).covering(reference)
        if grid.size > MOST_NODES * reference.size:
            break
        deviation = interpolation_error(transform, grid, points)
        if deviation <= tolerance:
            return FittingGrid(grid, steps, deviation)
        least = min(least, deviation)
    raise DataError(
        f"tolerance: expected a displacement field of at most {MOST_NODES} nodes a voxel to be within "
        f"{tolerance:g} mm of this transform between its nodes; the best deviates by {least:.2g} mm"
    )


@torch.no_grad()
def interpolation_error(transform: Transform, grid: Grid, points: Tensor) -> float:
    """Return the largest distance, mm, between a transform and its displacement field on `grid` at points `(N, D)`.

    Only the nodes around the points are evaluated, so that the size of the field does not matter.
    """
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=grid.dimension)), dtype=points.dtype)
    largest = 0.0
    for block in points.split(BLOCK):
        voxels = grid.world_to_voxel_points(block)
        low = voxels.floor()
        # The corners of a cell together: the values that a field reads for one of them are cached for the others.
        nodes = grid.voxel_to_world_points(low.unsqueeze(-2) + corners)
        weights = (1 - corners - (voxels - low).unsqueeze(-2)).abs().prod(dim=-1, keepdim=True)
        interpolated = block + (weights * (transform(nodes) - nodes)).sum(dim=-2)
        largest = max(largest, float((interpolated - transform(block)).norm(dim=-1).max()))
    return largest


def _random_points(grid: Grid) -> Tensor:
    """Return random world points `(POINTS, D)`, float64, between the outermost voxel centres."""
    generator = torch.Generator().manual_seed(0)
    fractions = torch.rand(POINTS, grid.dimension, generator=generator, dtype=torch.float64)
    return grid.voxel_to_world_points(fractions * (torch.tensor(grid.shape, dtype=torch.int64) - 1))
