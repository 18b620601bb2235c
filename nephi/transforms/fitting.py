"""The displacement field that approximates a transform between its nodes as well."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.transforms.composite import as_affine
from nephi.transforms.displacement import ContinuedDisplacement
from nephi.transforms.node_values import NodeValues
from nephi.transforms.transform import Transform
from nephi.transforms.voxels import displacement_slabs

POINTS = 200_000  # at which the deviation is measured
BLOCK = 50_000  # of them at once, each with the nodes around it
MOST_STEPS = 8  # into which a cell is divided
TRIALS, MOST_TRIALS = 4, 8  # of spacings for smooth transforms: the latter until the tolerance holds
MOST_NODES = 64  # for each voxel of the reference; larger files are impractical


@dataclass(frozen=True, eq=False)
class FittingField:
    """A displacement field that is to be written, and its deviation from a transform between the nodes.

    `transform` has the field's values at the nodes of `grid`: export this one. It is the original transform or its
    `NodeValues`. `deviation` is the largest distance measured at `POINTS` random points, mm.
    """

    transform: Transform
    grid: Grid
    deviation: float


@torch.no_grad()
def fitting_field(transform: Transform, reference: Grid, tolerance: float) -> FittingField:
    """Return the coarsest displacement field found that stays within `tolerance` mm of a transform.

    Fields are interpolated linearly. The grid covers all voxel centres of `reference`.

    - Of a transform with a continuous Jacobian (`Transform.has_continuous_jacobian`) nodes lie at equal distances along
      all axes, with `NodeValues`.
    - Of any other one the planes of the grid are those at which the transform is not smooth (`Transform.cells`) and
      others at equal distances between them, up to 8 steps a cell; without such planes, those of the reference and
      others between them. Nodes have the values of the transform.

    The deviation is measured, not proved: the largest at 200,000 random points between the reference's outermost voxel
    centres, the same each time.

    Raises `UsageError` unless `tolerance` is above 0, `DataError` for another dimension, or when up to 64 nodes for
    each voxel of the reference (and up to 8 steps a cell) do not suffice.
    """
    if not 0 < tolerance < math.inf:
        raise UsageError(f"tolerance: expected millimetres above 0, got {tolerance:g}")
    if reference.dimension != transform.dimension:
        raise DataError(
            f"expected a {transform.dimension}-D reference, like the transform, found {reference.dimension}-D"
        )
    search = _fit_smooth if transform.has_continuous_jacobian else _fit_cells
    field = search(transform, reference, tolerance)
    if field.deviation <= tolerance:
        # Any nodes reproduce an affine transform, and formats for matrices can store it.
        return field if as_affine(transform) is None else replace(field, transform=transform)
    raise DataError(
        f"tolerance: expected a displacement field of at most {MOST_NODES} nodes a voxel to be within "
        f"{tolerance:g} mm of this transform between its nodes; the best deviates by {field.deviation:.2g} mm"
    )


def _fit_cells(transform: Transform, reference: Grid, tolerance: float) -> FittingField:
    """Divide the cells of a transform, or the reference's, until the tolerance holds; return the last or the best."""
    base = transform.cells or reference
    points = _random_points(reference)
    best = FittingField(transform, reference, math.inf)
    for steps in range(1, MOST_STEPS + 1):
        grid = base.divided([steps * max(1, n - 1) for n in base.shape]).covering(reference)
        if grid.size > MOST_NODES * reference.size:
            break
        field = FittingField(transform, grid, interpolation_error(transform, grid, points))
        if field.deviation < best.deviation:
            best = field
        if field.deviation <= tolerance:
            break
    return best


def _fit_smooth(transform: Transform, reference: Grid, tolerance: float) -> FittingField:
    """Adapt the spacing of the nodes to the tolerance; return the coarsest field within it, or the finest."""
    points = _random_points(reference)
    exact = transform(points)
    finest, widest = _spacing_limits(reference)
    spacing = min(widest, 4 * finest)
    best: FittingField | None = None
    for trial in range(MOST_TRIALS):  # the deviation depends on where nodes lie between the sharpest bends, too
        grid = reference.divided([math.ceil(edge / spacing) for edge in _edges(reference)]).covering(reference)
        values = NodeValues(transform, grid)
        field = FittingField(values, grid, field_error(values, grid, points, exact))
        if best is None or _is_better(field, best, tolerance):
            best = field
        # The deviation grows with the square of the spacing, but in proportion to it where the box of a field ends.
        order = 2 if trial + 1 < TRIALS or field.deviation <= tolerance else 1
        target = spacing * (0.95 * tolerance / max(field.deviation, 1e-9)) ** (1 / order)
        previous, spacing = spacing, min(widest, max(finest, target))
        if field.deviation <= tolerance and spacing < 1.02 * previous:
            break
        if spacing == previous or (best.deviation <= tolerance and trial + 1 >= TRIALS):
            break
    assert best is not None
    return best


def _is_better(field: FittingField, other: FittingField, tolerance: float) -> bool:
    """Return whether a field is within the tolerance and the other is not, or both are and this one has fewer nodes."""
    if min(field.deviation, other.deviation) > tolerance:
        return field.deviation < other.deviation
    return field.deviation <= tolerance and (other.deviation > tolerance or field.grid.size < other.grid.size)


def _spacing_limits(reference: Grid) -> tuple[float, float]:
    """Return the smallest spacing, mm, of at most `MOST_NODES` nodes for each voxel, and the longest edge."""
    edges = _edges(reference)

    def is_allowed(spacing: float) -> bool:
        return math.prod(math.ceil(edge / spacing) + 1 for edge in edges) <= MOST_NODES * reference.size

    finest = min(edges)
    while is_allowed(finest):
        finest *= 0.98
    while not is_allowed(finest):  # at once, or where one edge is much shorter than the others
        finest /= 0.98
    return finest, max(edges)


def _edges(grid: Grid) -> list[float]:
    """Return the distances between the outermost voxel centres along each axis, mm; one voxel counts as two."""
    return [step * max(1, size - 1) for step, size in zip(grid.spacing.tolist(), grid.shape, strict=True)]


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


@torch.no_grad()
def field_error(values: Transform, grid: Grid, points: Tensor, exact: Tensor) -> float:
    """Return the largest distance, mm, of the displacement field on `grid` from `exact` values at points `(N, D)`.

    The field has the `values` of a transform at its nodes. It is computed slab by slab, as for an export.
    """
    planes = grid.world_to_voxel_points(points)[:, -1]
    order = planes.argsort()
    planes, points, exact = planes[order], points[order], exact[order]
    largest, done = 0.0, 0
    kept: Tensor | None = None  # the last slice
    for _, stop, displacement in displacement_slabs(values, grid):
        block = displacement if kept is None else torch.cat([kept, displacement], dim=-2)
        kept = block[..., -1:, :]
        end = len(points) if stop == grid.shape[-1] else int((planes <= stop - 1).sum())
        if end == done:
            continue
        affine = grid.affine.clone()
        affine[:-1, -1] += (stop - block.shape[-2]) * affine[:-1, -2]
        slab = ContinuedDisplacement(block, Grid(block.shape[:-1], affine))
        largest = max(largest, float((slab(points[done:end]) - exact[done:end]).norm(dim=-1).max()))
        done = end
    return largest


def _random_points(grid: Grid) -> Tensor:
    """Return random world points `(POINTS, D)`, float64, between the outermost voxel centres."""
    generator = torch.Generator().manual_seed(0)
    fractions = torch.rand(POINTS, grid.dimension, generator=generator, dtype=torch.float64)
    return grid.voxel_to_world_points(fractions * (torch.tensor(grid.shape, dtype=torch.int64) - 1))
