"""Flows of stationary velocity fields: deformations whose inverse is the flow of the opposite velocity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import (
    Grid,
    cell_differences,
    full_precision,
    identity_like,
    interpolate,
    interpolate_tables,
    interpolate_tables_with_gradient,
    interpolate_with_gradient,
    jacobian_product,
)
from nephi.transforms.maps import Maps, Penalties
from nephi.transforms.transform import Transform, any_real_points

# 4 Runge-Kutta steps for every 6 cells of the largest velocity, and for every cell by which neighbours differ: the
# round trip through the inverse then ends within 1e-4 cells of its start in the mean, also for velocities like noise.
STEPS, CELLS, DIFFERENCE = 4, 6.0, 1.0
MOST_STEPS = 64  # beyond, the flow is less exact, but a training that diverges does not stall


class StationaryVelocity(Transform):
    """`phi(x) = y(1)` of the flow `dy/dt = v(y)`, `y(0) = x`, v interpolated linearly on a grid.

    `velocity` has shape `(*grid.shape, D)`, world mm per unit of time, RAS components; beyond the grid v continues with
    its value at the border. The flow is integrated at each point by the classical Runge-Kutta method of order 4 instead
    of by squaring a displacement field on the grid (Arsigny et al., MICCAI 2006), whose repeated interpolation costs
    more accuracy than a whole integration. The number of steps depends on the size of the velocity and of its
    differences between neighbours, so that the inverse, the flow of -v, has the same steps.

    Raises `DataError` when the shape does not fit the grid or a value is not finite.
    """

    def __init__(self, velocity: Tensor, grid: Grid) -> None:
        expected = (*grid.shape, grid.dimension)
        if tuple(velocity.shape) != expected:
            raise DataError(f"a velocity field on this grid has shape {expected}, got {tuple(velocity.shape)}")
        if not bool(torch.isfinite(velocity).all()):
            raise DataError("the velocity field holds NaN or infinite values")
        self.velocity = velocity
        self.grid = grid
        cells = grid.world_to_voxel_vectors(velocity).contiguous()  # a step reads all components of a voxel
        table = cells.movedim(-1, 0)[None]
        (steps,) = _step_counts(table, cell_differences(table))
        self._flow = _Flow(grid, steps, partial(interpolate, cells), partial(interpolate_with_gradient, cells))

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.grid.dimension

    @any_real_points
    def __call__(self, points: Tensor) -> Tensor:
        """Return the values at points `(..., D)`, in mm."""
        return self._flow(points)

    @any_real_points
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values, and the Jacobian of the integration steps in closed form, `(..., D, D)`."""
        return self._flow.value_and_jacobian(points)

    def inverse(self) -> StationaryVelocity:
        """Return the flow of the opposite velocity: the inverse up to the error of the integration."""
        return StationaryVelocity(-self.velocity, self.grid)


class VelocityMaps(Maps):
    """Flows of B stationary velocity fields `velocity` `(B, D, *shape)`, mm, on one grid, as `StationaryVelocity`."""

    def __init__(self, velocity: Tensor, grid: Grid) -> None:
        self.velocity = velocity
        self.grid = grid
        tables = grid.world_to_voxel_vectors(velocity.movedim(1, -1)).movedim(-1, 1).contiguous()
        differences = cell_differences(tables)
        # Each pair has its own number of steps: its map does not depend on the other pairs of the batch.
        counts = _step_counts(tables, differences)
        self._groups = [
            _Group([pair for pair, count in enumerate(counts) if count == steps], steps)
            for steps in dict.fromkeys(counts)
        ]
        self._flows = [_batch_flow(grid, group, tables, differences) for group in self._groups]

    def __len__(self) -> int:
        return len(self.velocity)

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values `(B, N, D)`."""
        return self._in_order(
            [flow(points[group.pairs]) for group, flow in zip(self._groups, self._flows, strict=True)]
        )

    @full_precision()
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values, and the Jacobians of the integration steps, `(B, N, D, D)`."""
        parts = [
            flow.value_and_jacobian(points[group.pairs]) for group, flow in zip(self._groups, self._flows, strict=True)
        ]
        return self._in_order([value for value, _ in parts]), self._in_order([jacobian for _, jacobian in parts])

    def _in_order(self, parts: Sequence[Tensor]) -> Tensor:
        """Return what was computed group by group, in the order of the pairs."""
        pairs = [pair for group in self._groups for pair in group.pairs]
        order = torch.tensor(pairs, dtype=torch.int64, device=parts[0].device).argsort()
        return torch.cat(list(parts))[order]

    def inverse(self) -> VelocityMaps:
        """Return the flows of the opposite velocities: the inverses up to the error of the integration."""
        return VelocityMaps(-self.velocity, self.grid)

    def rows(self, pairs: slice) -> VelocityMaps:
        """Return the flows of some of the pairs."""
        return VelocityMaps(self.velocity[pairs], self.grid)

    def one(self, pair: int) -> StationaryVelocity:
        """Return the flow of one pair."""
        return StationaryVelocity(self.velocity[pair].detach().float().cpu().movedim(0, -1).contiguous(), self.grid)

    def inverts(self, other: Maps) -> bool:
        """Return whether `other` are the flows of the opposite velocities."""
        if not isinstance(other, VelocityMaps) or not self.grid.same_as(other.grid):
            return False
        return torch.equal(self.velocity, -other.velocity)

    def penalties(self) -> Penalties:
        """Return `velocity`: the mean over voxels and pairs of `|dv/dx|^2` (`mean_squared_gradient`)."""
        return Penalties({"velocity": lambda: mean_squared_gradient(self.velocity, self.grid)})


def mean_squared_gradient(vectors: Tensor, grid: Grid) -> Tensor:
    """Compute the mean over all voxels of `|dv/dx|^2` (sum over matrix entries), mm per mm, of v `(B, D, *shape)`.

    The derivatives are forward differences; at the last voxel along an axis, beyond which v continues, they are 0.
    """
    differences = []
    for axis in range(2, vectors.ndim):
        last = vectors.narrow(axis, vectors.shape[axis] - 1, 1)
        differences.append(torch.diff(vectors, dim=axis, append=last))
    by_world = torch.stack(differences, dim=-1) @ grid.inverse_affine[:-1, :-1].to(vectors)
    return by_world.square().sum(dim=(1, -1)).mean()


class _Group(NamedTuple):
    """Pairs of a batch that are integrated in as many steps."""

    pairs: list[int]
    steps: int


@dataclass(frozen=True)
class _Flow:
    """The flow to time 1 of `velocity`, in voxels per time at voxel points; with its gradient, `Dv`, per voxel."""

    grid: Grid
    steps: int
    velocity: Callable[[Tensor], Tensor]
    velocity_and_gradient: Callable[[Tensor], tuple[Tensor, Tensor]]

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values at points `(..., D)`, mm."""
        start = self.grid.world_to_voxel_points(points)

        def rate(state: Sequence[Tensor]) -> list[Tensor]:
            return [self.velocity(start + state[0])]

        (displacement,) = _integrate(rate, [torch.zeros_like(start)], self.steps)
        return points + self.grid.voxel_to_world_vectors(displacement)

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values and their Jacobians: the tangents of the points advance by the same steps, `dT/dt = Dv T`.

        The Jacobian is that of the computed values, not an approximation of the exact flow's.
        """
        start = self.grid.world_to_voxel_points(points)

        def rate(state: Sequence[Tensor]) -> list[Tensor]:
            velocity, gradient = self.velocity_and_gradient(start + state[0])
            return [velocity, gradient + gradient @ state[1]]  # Dv T for T = I + state[1]

        tangents = torch.zeros_like(start).unsqueeze(-1).expand(*start.shape, start.shape[-1])
        displacement, change = _integrate(rate, [torch.zeros_like(start), tangents], self.steps)
        to_world, to_voxel = (matrix[:-1, :-1].to(points) for matrix in (self.grid.affine, self.grid.inverse_affine))
        values = points + self.grid.voxel_to_world_vectors(displacement)
        return values, identity_like(points) + jacobian_product(to_world, change) @ to_voxel


def _batch_flow(grid: Grid, group: _Group, tables: Tensor, differences: Sequence[Tensor]) -> _Flow:
    """Return the flow of the pairs of a group, for points `(B, N, D)`."""
    own, own_differences = tables[group.pairs], [difference[group.pairs] for difference in differences]
    with_gradient = partial(interpolate_tables_with_gradient, own, own_differences)
    return _Flow(grid, group.steps, partial(interpolate_tables, own), with_gradient)


@torch.no_grad()
def _step_counts(tables: Tensor, differences: Sequence[Tensor]) -> list[int]:
    """Return the numbers of integration steps for velocities `(B, D, *shape)` in cells, the same for the negative.

    `differences` are those between neighbours, `cell_differences(tables)`.
    """
    extents = [_largest(tables) / CELLS, *(_largest(difference) / DIFFERENCE for difference in differences)]
    largest: list[float] = torch.stack(extents).amax(dim=0).tolist()
    return [min(MOST_STEPS, STEPS * max(1, math.ceil(x))) if math.isfinite(x) else STEPS for x in largest]


def _largest(vectors: Tensor) -> Tensor:
    """Return the largest length of vectors `(B, D, *shape)`, for each of B."""
    return vectors.square().sum(dim=1).flatten(1).amax(dim=1).sqrt()


def _integrate(
    rate: Callable[[Sequence[Tensor]], Sequence[Tensor]], state: Sequence[Tensor], steps: int
) -> Sequence[Tensor]:
    """Return the state at time 1 by the classical Runge-Kutta method; `rate` is its derivative by time."""
    h = 1 / steps
    for _ in range(steps):
        first = rate(state)
        second = rate(_advance(state, first, h / 2))
        third = rate(_advance(state, second, h / 2))
        fourth = rate(_advance(state, third, h))
        mean = [(a + 2 * (b + c) + d) / 6 for a, b, c, d in zip(first, second, third, fourth, strict=True)]
        state = _advance(state, mean, h)
    return state


def _advance(state: Sequence[Tensor], rates: Sequence[Tensor], time: float) -> list[Tensor]:
    return [torch.add(value, rate, alpha=time) for value, rate in zip(state, rates, strict=True)]
