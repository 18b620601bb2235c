"""Free-form deformations: values, derivatives, and their border."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.transforms import BSplineField, interpolating_splines, invert

Draw = Callable[..., torch.Tensor]


def field(grid: Grid, size: float = 1.0) -> BSplineField:
    generator = torch.Generator().manual_seed(0)
    return BSplineField(size * torch.randn(*grid.shape, grid.dimension, generator=generator, dtype=torch.float64), grid)


def test_reproduces_linear_displacements(grid: Grid, points_in: Draw) -> None:
    """B-splines of a linear function's samples are that function."""
    centres = grid.voxel_to_world_points(torch.cartesian_prod(*[torch.arange(n) for n in grid.shape]))
    matrix = torch.tensor([[0.1, 0.2, -0.1], [0.0, -0.1, 0.3], [0.2, 0.1, 0.1]], dtype=torch.float64)
    matrix = matrix[: grid.dimension, : grid.dimension]
    splines = BSplineField((centres @ matrix.T).reshape(*grid.shape, grid.dimension), grid)
    points = points_in(grid, margin=-1.001)
    values, jacobians = splines.value_and_jacobian(points)
    torch.testing.assert_close(splines(points), points + points @ matrix.T)
    torch.testing.assert_close(values, points + points @ matrix.T)
    expected = torch.eye(grid.dimension, dtype=torch.float64) + matrix
    torch.testing.assert_close(jacobians, expected.expand_as(jacobians))


def test_the_jacobian_is_the_derivative(grid: Grid, points_in: Draw) -> None:
    splines, points = field(grid), points_in(grid, count=10, margin=-1.001)
    values, jacobians = splines.value_and_jacobian(points)
    torch.testing.assert_close(values, splines(points))
    for point, jacobian in zip(points, jacobians, strict=True):
        by_torch = torch.autograd.functional.jacobian(splines, point)
        torch.testing.assert_close(jacobian, by_torch)


def test_the_identity_beyond_the_control_points(grid: Grid) -> None:
    splines = field(grid)
    at = torch.full((grid.dimension,), 1.5, dtype=torch.float64)
    for axis in range(grid.dimension):
        for place, moves in ((0.99, False), (1.0, True), (grid.shape[axis] - 2.01, True), (99.0, False)):
            voxel = at.clone()
            voxel[axis] = place + 1e-9 * moves
            point = grid.voxel_to_world_points(voxel)
            value, jacobian = splines.value_and_jacobian(point)
            assert torch.equal(value, point) != moves
            assert torch.equal(jacobian, torch.eye(grid.dimension).double()) != moves


def test_inverse(grid: Grid, points_in: Draw) -> None:
    splines, points = field(grid, 0.1), points_in(grid, margin=-1.5)
    torch.testing.assert_close(invert(splines)(splines(points)), points, rtol=0, atol=5e-3)


def test_invalid_coefficients_are_refused() -> None:
    grid = Grid.from_spacing((5, 4), (1.0, 1.0))
    with pytest.raises(DataError, match=r"need coefficients \(5, 4, 2\), got \(5, 4, 3\)"):
        BSplineField(torch.zeros(5, 4, 3), grid)
    with pytest.raises(DataError, match="at least 4 control points"):
        BSplineField(torch.zeros(5, 3, 2), Grid.from_spacing((5, 3), (1.0, 1.0)))
    with pytest.raises(DataError, match="NaN"):
        BSplineField(torch.full((5, 4, 2), torch.nan), grid)


def test_interpolating_splines_reproduce_cubic_displacements(grid: Grid, points_in: Draw) -> None:
    """Everywhere between the outermost voxel centres, and whatever the spacing."""
    scale = 0.01

    def cubic(points: torch.Tensor) -> torch.Tensor:
        return points + scale**2 * points.flip(-1) ** 3 + scale * points**2

    for spacing in (2.5, 1000.0):
        splines = interpolating_splines(cubic, grid, spacing)
        assert float(splines.grid.spacing.max()) <= spacing
        points = points_in(grid, margin=-0.001)
        torch.testing.assert_close(splines(points), cubic(points), rtol=1e-4, atol=1e-3)
