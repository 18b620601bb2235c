"""Flows of velocity fields: closed forms, a fine reference, inverse consistency, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import Grid, interpolate
from nephi.transforms import DisplacementMaps, StationaryVelocity, VelocityMaps, invert, mean_squared_gradient
from nephi.transforms.velocity import MOST_STEPS


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inner_points(grid: Grid, count: int = 40) -> Tensor:
    """World points `(count, D)` in the middle of the grid."""
    unit = torch.rand(count, grid.dimension, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return grid.voxel_to_world_points((0.3 + 0.4 * unit) * (torch.tensor(grid.shape) - 1))


def waves(size: int, largest: float) -> tuple[Tensor, Grid]:
    """A velocity `(1, 2, size, size)` of long waves, at most `largest` cells, zero at the border."""
    grid = Grid.from_spacing((size, size), (1.0, 1.0))
    x = torch.linspace(0, math.pi, size, dtype=torch.float64)
    bump = torch.sin(x)[:, None] * torch.sin(x)
    field = torch.stack([torch.cos(2 * x)[None, :] * bump, torch.sin(2 * x)[:, None] * bump])
    return (field * largest / field.norm(dim=0).max())[None], grid


def squared(velocity: Tensor, grid: Grid, times: int) -> DisplacementMaps:
    """Return the flow by scaling and squaring on the grid, as most published systems compute it."""
    displacement = velocity / 2**times
    points = grid.voxel_centres().to(velocity).reshape(1, -1, 2)
    for _ in range(times):
        maps = DisplacementMaps(displacement, grid)
        displacement = (maps(maps(points)) - points).transpose(1, 2).reshape(velocity.shape)
    return DisplacementMaps(displacement, grid)


def exact_flow(velocity: Tensor, grid: Grid, points: Tensor, steps: int = 512) -> Tensor:
    """Integrate by Heun's method in many steps."""
    table = grid.world_to_voxel_vectors(velocity[0].movedim(0, -1))
    voxels = grid.world_to_voxel_points(points)
    for _ in range(steps):
        slope = interpolate(table, voxels)
        voxels = voxels + (slope + interpolate(table, voxels + slope / steps)) / (2 * steps)
    return grid.voxel_to_world_points(voxels)


def test_the_flow_of_a_linear_velocity_is_a_matrix_exponential(grid: Grid) -> None:
    """Linear interpolation of `v(x) = M (x - c)` is exact, and so is RK4 up to the fifth order of M."""
    generator = 0.1 * random(grid.dimension, grid.dimension, seed=1)
    centre = grid.centre_world()
    centres = grid.voxel_to_world_points(torch.cartesian_prod(*[torch.arange(n) for n in grid.shape]))
    velocity = ((centres - centre) @ generator.T).reshape(*grid.shape, grid.dimension)
    flow, points = StationaryVelocity(velocity, grid), inner_points(grid)
    expected = torch.linalg.matrix_exp(generator)
    values, jacobians = flow.value_and_jacobian(points)
    torch.testing.assert_close(values, centre + (points - centre) @ expected.T, rtol=0, atol=1e-5)
    torch.testing.assert_close(jacobians, expected.expand_as(jacobians), rtol=0, atol=1e-6)


def test_a_constant_velocity_is_a_translation_also_beyond_the_grid(grid: Grid) -> None:
    shift = torch.arange(1.0, grid.dimension + 1, dtype=torch.float64)
    flow = StationaryVelocity(shift.expand(*grid.shape, -1), grid)
    points = grid.voxel_to_world_points(10 * random(20, grid.dimension))
    values, jacobians = flow.value_and_jacobian(points)
    torch.testing.assert_close(values, points + shift)
    torch.testing.assert_close(jacobians, torch.eye(grid.dimension, dtype=torch.float64).expand_as(jacobians))


def test_no_velocity_is_exactly_the_identity(grid: Grid) -> None:
    points = grid.voxel_centres()
    flow = StationaryVelocity(torch.zeros(*grid.shape, grid.dimension, dtype=torch.float32), grid)
    values, jacobians = flow.value_and_jacobian(points)
    assert torch.equal(values, points) and torch.equal(flow(points), points)
    assert torch.equal(jacobians, torch.eye(grid.dimension, dtype=torch.float32).expand_as(jacobians))


def test_runge_kutta_at_the_points_beats_squaring_on_the_grid() -> None:
    """The table of the design in small: mean errors in voxels for a velocity of 8 voxels."""
    velocity, grid = waves(48, 8.0)
    points = inner_points(grid, 400)[None]
    flow, squarings = VelocityMaps(velocity, grid), squared(velocity, grid, 7)
    exact = exact_flow(velocity, grid, points)

    def mean(difference: Tensor) -> float:
        return float(difference.norm(dim=-1).mean())

    assert mean(flow(points) - exact) < 1e-3 < 1e-2 < mean(squarings(points) - exact)
    back = squared(-velocity, grid, 7)
    round_trip = mean(flow.inverse()(flow(points)) - points)
    assert round_trip < 1e-4 and mean(back(squarings(points)) - points) > 100 * round_trip


def test_the_inverse_is_consistent_for_rough_velocities(grid: Grid) -> None:
    """Below 1e-4 voxel in the mean for noise, whose neighbours differ by several cells."""
    velocity = grid.voxel_to_world_vectors(random(2, *grid.shape, grid.dimension)).movedim(-1, 1)
    maps = VelocityMaps(velocity, grid)
    points = torch.stack([inner_points(grid), inner_points(grid)])
    difference = grid.world_to_voxel_vectors(maps.inverse()(maps(points)) - points)
    assert float((maps(points) - points).norm(dim=-1).max()) > 1
    assert float(difference.norm(dim=-1).mean()) < 1e-4 and float(difference.norm(dim=-1).max()) < 2e-3


def test_each_pair_is_integrated_by_its_own_steps() -> None:
    large, grid = waves(64, 13.0)
    both = torch.cat([0.1 * large, large])
    points = inner_points(grid).expand(2, -1, -1)
    for pair in range(2):
        alone = VelocityMaps(both[pair : pair + 1], grid)
        for together, single in zip(
            VelocityMaps(both, grid).value_and_jacobian(points), alone.value_and_jacobian(points[:1]), strict=True
        ):
            torch.testing.assert_close(together[pair], single[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(VelocityMaps(both, grid)(points)[pair], alone(points[:1])[0], rtol=0, atol=1e-12)
    groups = VelocityMaps(torch.cat([both, 1e6 * large, math.nan * large]), grid)._groups
    assert groups == [([0, 3], 4), ([1], 12), ([2], MOST_STEPS)]
    rough = 1.2 * random(1, 2, 16, 16).sign()  # neighbours differ by up to 2.4 sqrt(2) = 3.4 cells
    assert VelocityMaps(rough, Grid.from_spacing((16, 16), (1.0, 1.0)))._groups == [([0], 16)]


def test_gradients_for_points_and_velocity() -> None:
    grid = Grid.from_spacing((4, 3), (1.5, 0.8))

    def loss(velocity: Tensor, points: Tensor) -> Tensor:
        values, jacobians = VelocityMaps(velocity, grid).value_and_jacobian(points)
        return jacobians.square().sum() + values.square().mean()

    inputs = 0.3 * random(1, 2, *grid.shape), inner_points(grid, 2)[None]
    assert torch.autograd.gradcheck(loss, [tensor.requires_grad_() for tensor in inputs])


def test_the_penalty_of_a_linear_velocity(grid: Grid) -> None:
    """Forward differences are exact for `v = M x`, except at the last voxel of an axis, where they are 0."""
    matrix = random(grid.dimension, grid.dimension)
    centres = grid.voxel_to_world_points(torch.cartesian_prod(*[torch.arange(n) for n in grid.shape]))
    velocity = (centres @ matrix.T).reshape(*grid.shape, grid.dimension).movedim(-1, 0)[None]
    by_voxel = matrix @ grid.affine[:-1, :-1]
    weights = torch.ones(*grid.shape, grid.dimension, dtype=torch.float64)
    for axis, n in enumerate(grid.shape):
        weights.select(axis, n - 1)[..., axis] = 0
    differences = by_voxel * weights.unsqueeze(-2)
    expected = (differences @ grid.inverse_affine[:-1, :-1]).square().sum(dim=(-1, -2)).mean()
    maps = VelocityMaps(velocity.repeat(2, 1, *[1] * grid.dimension), grid)
    torch.testing.assert_close(maps.penalties()["velocity"], expected)
    torch.testing.assert_close(mean_squared_gradient(2 * velocity, grid), 4 * expected)


def test_a_grid_of_one_slice() -> None:
    grid = Grid.from_spacing((5, 6, 1), (1.0, 2.0, 3.0))
    maps = VelocityMaps(random(1, 3, *grid.shape), grid)
    points = inner_points(grid)[None]
    assert bool(maps(points).isfinite().all()) and bool(maps.penalties()["velocity"] > 0)


def test_the_inverse_of_a_transform_is_the_flow_of_the_opposite_velocity(grid: Grid) -> None:
    transform = VelocityMaps(random(1, grid.dimension, *grid.shape), grid).one(0)
    inverse = invert(transform)
    assert isinstance(inverse, StationaryVelocity)
    assert torch.equal(inverse.velocity, -transform.velocity)
    assert torch.equal(inverse.inverse()(inner_points(grid)), transform(inner_points(grid)))


def test_unusable_velocities_are_refused(grid_2d: Grid) -> None:
    with pytest.raises(DataError, match=r"a velocity field on this grid has shape \(7, 5, 2\), got \(2, 7, 5\)"):
        StationaryVelocity(random(2, 7, 5), grid_2d)
    with pytest.raises(DataError, match=r"the velocity field holds NaN or infinite values"):
        StationaryVelocity(random(7, 5, 2) / 0, grid_2d)
