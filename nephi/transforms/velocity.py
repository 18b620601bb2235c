"""Flows of stationary velocity fields: deformations whose inverse is the flow of the opposite velocity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import (
    Grid,
    identity_like,
    interpolate,
    interpolate_tables,
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
        self._flow = _Flow(velocity, grid)

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
        # Each pair has its own number of steps: its map does not depend on the other pairs of the batch.
        self._flows = [_Flow(table, grid) for table in velocity.movedim(1, -1)]
        self._cells = torch.stack([flow.cells for flow in self._flows]).movedim(-1, 1).contiguous()

    def __len__(self) -> int:
        return len(self.velocity)

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values `(B, N, D)`, for all pairs of as many steps at once."""
        start, counts = self.grid.world_to_voxel_points(points), [flow.steps for flow in self._flows]
        groups = [[pair for pair, count in enumerate(counts) if count == steps] for steps in dict.fromkeys(counts)]
        if len(groups) == 1:
            return points + self.grid.voxel_to_world_vectors(_displacement(self._cells, start, counts[0]))
        parts = [_displacement(self._cells[group], start[group], counts[group[0]]) for group in groups]
        order = torch.tensor([pair for group in groups for pair in group], dtype=torch.int64, device=points.device)
        return points + self.grid.voxel_to_world_vectors(torch.cat(parts)[order.argsort()])

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values, and the Jacobians of the integration steps, `(B, N, D, D)`."""
        pairs = [flow.value_and_jacobian(own) for flow, own in zip(self._flows, points, strict=True)]
        return torch.stack([value for value, _ in pairs]), torch.stack([jacobian for _, jacobian in pairs])

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


def _displacement(cells: Tensor, start: Tensor, steps: int) -> Tensor:
    """Return the displacements `(B, N, D)` of voxel points `start` by the flows of `cells` `(B, D, *shape)`."""

    def rate(state: Sequence[Tensor]) -> list[Tensor]:
        return [interpolate_tables(cells, start + state[0])]

    return _integrate(rate, [torch.zeros_like(start)], steps)[0]


class _Flow:
    """The flow of one velocity `(*shape, D)` to time 1, integrated in voxel coordinates."""

    def __init__(self, velocity: Tensor, grid: Grid) -> None:
        self.grid = grid
        self.cells = grid.world_to_voxel_vectors(velocity).contiguous()  # a step reads all components of a voxel
        self.steps = _step_count(self.cells)

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values at points `(..., D)`, mm."""
        start = self.grid.world_to_voxel_points(points)

        def rate(state: Sequence[Tensor]) -> list[Tensor]:
            return [interpolate(self.cells, start + state[0])]

        (displacement,) = _integrate(rate, [torch.zeros_like(start)], self.steps)
        return points + self.grid.voxel_to_world_vectors(displacement)

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values and their Jacobians: the tangents of the points advance by the same steps, `dT/dt = Dv T`.

        The Jacobian is that of the computed values, not an approximation of the exact flow's.
        """
        start = self.grid.world_to_voxel_points(points)

        def rate(state: Sequence[Tensor]) -> list[Tensor]:
            velocity, gradient = interpolate_with_gradient(self.cells, start + state[0])
            return [velocity, gradient + gradient @ state[1]]  # Dv T for T = I + state[1]

        tangents = torch.zeros_like(start).unsqueeze(-1).expand(*start.shape, start.shape[-1])
        displacement, change = _integrate(rate, [torch.zeros_like(start), tangents], self.steps)
        to_world, to_voxel = (matrix[:-1, :-1].to(points) for matrix in (self.grid.affine, self.grid.inverse_affine))
        values = points + self.grid.voxel_to_world_vectors(displacement)
        return values, identity_like(points) + jacobian_product(to_world, change) @ to_voxel


@torch.no_grad()
def _step_count(velocity: Tensor) -> int:
    """Return the number of integration steps for a velocity `(*shape, D)` in cells, the same for its negative."""
    axes = [axis for axis in range(velocity.ndim - 1) if velocity.shape[axis] > 1]
    differences = [_largest(torch.diff(velocity, dim=axis)) / DIFFERENCE for axis in axes]
    extent = max([_largest(velocity) / CELLS, *differences])
    if not math.isfinite(extent):
        return STEPS
    return min(MOST_STEPS, STEPS * max(1, math.ceil(extent)))


def _largest(vectors: Tensor) -> float:
    return float(vectors.norm(dim=-1).max())


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
