"""Deformations of several pairs: values pair by pair, Jacobians against finite differences, gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.transforms import (
    AffineMaps,
    AffineTransform,
    ComposedMaps,
    Composite,
    ContinuedDisplacement,
    DisplacementMaps,
    Maps,
    SingleMap,
    VelocityMaps,
)

PAIRS, STEP = 3, 1e-5


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def affine_maps(grid: Grid) -> AffineMaps:
    d = grid.dimension
    return AffineMaps(torch.eye(d, dtype=torch.float64) + 0.1 * random(PAIRS, d, d), 2 * random(PAIRS, d, seed=1))


def displacement_maps(grid: Grid) -> DisplacementMaps:
    return DisplacementMaps(0.3 * random(PAIRS, grid.dimension, *grid.shape, seed=2), grid)


def velocity_maps(grid: Grid) -> VelocityMaps:
    return VelocityMaps(0.3 * random(PAIRS, grid.dimension, *grid.shape, seed=3), grid)


def composed_maps(grid: Grid) -> ComposedMaps:
    return ComposedMaps([affine_maps(grid), displacement_maps(grid)])


kinds = pytest.mark.parametrize("make", [affine_maps, displacement_maps, velocity_maps, composed_maps])


def points_within_cells(grid: Grid, margin: float = 0.0) -> Tensor:
    """World points `(PAIRS, 30, D)`, none close to a face of a cell, where linear interpolation has a kink."""
    generator = torch.Generator().manual_seed(7)
    fractions = torch.rand(PAIRS, 30, grid.dimension, generator=generator, dtype=torch.float64)
    voxels = fractions * (torch.tensor(grid.shape) - 1 + 2 * margin) - margin
    return grid.voxel_to_world_points(voxels.floor() + (voxels - voxels.floor()).clamp(0.05, 0.95))


@kinds
def test_values_and_jacobians_of_each_pair(make: Callable[[Grid], Maps], grid: Grid) -> None:
    maps, points = make(grid), points_within_cells(grid, margin=1.5)
    values, jacobians = maps.value_and_jacobian(points)
    torch.testing.assert_close(maps(points), values)
    assert len(maps) == PAIRS and jacobians.shape == (*points.shape, grid.dimension)
    for pair in range(PAIRS):
        value, jacobian = maps.one(pair).value_and_jacobian(points[pair])
        torch.testing.assert_close(value, values[pair], rtol=1e-5, atol=1e-4)  # a table is stored in single precision
        torch.testing.assert_close(jacobian, jacobians[pair], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [affine_maps, displacement_maps, velocity_maps])
def test_jacobians_are_those_of_central_differences(make: Callable[[Grid], Maps], grid: Grid) -> None:
    maps, points = make(grid), points_within_cells(grid)
    _, jacobians = maps.value_and_jacobian(points)
    for axis in range(grid.dimension):
        step = torch.zeros(grid.dimension, dtype=torch.float64)
        step[axis] = STEP
        slope = (maps(points + step) - maps(points - step)) / (2 * STEP)
        torch.testing.assert_close(jacobians[..., axis], slope, rtol=1e-6, atol=1e-6)


def test_the_first_member_acts_first(grid: Grid) -> None:
    first, second, points = affine_maps(grid), displacement_maps(grid), points_within_cells(grid)
    torch.testing.assert_close(ComposedMaps([first, second])(points), second(first(points)))
    _, jacobian = ComposedMaps([first, second]).value_and_jacobian(points)
    inner, outer = first.value_and_jacobian(points), second.value_and_jacobian(first(points))
    torch.testing.assert_close(jacobian, outer[1] @ inner[1])
    assert isinstance(ComposedMaps([first, second]).one(0), Composite)


def test_a_loss_on_jacobians_is_differentiable(grid_2d: Grid) -> None:
    points = points_within_cells(grid_2d)[:, :4]

    def loss(displacement: Tensor, matrices: Tensor, points: Tensor) -> Tensor:
        translations = torch.zeros(PAIRS, 2, dtype=torch.float64)
        maps = ComposedMaps([DisplacementMaps(displacement, grid_2d), AffineMaps(matrices, translations)])
        values, jacobians = maps.value_and_jacobian(points)
        return jacobians.square().sum() + values.square().mean()

    inputs = 0.1 * random(PAIRS, 2, *grid_2d.shape), affine_maps(grid_2d).matrices, points
    assert torch.autograd.gradcheck(loss, [tensor.requires_grad_() for tensor in inputs])


def test_a_displacement_continues_beyond_its_border(grid: Grid) -> None:
    maps = displacement_maps(grid)
    corner = grid.voxel_to_world_points(torch.zeros(grid.dimension, dtype=torch.float64))
    beyond = grid.voxel_to_world_points(torch.full((grid.dimension,), -4.0, dtype=torch.float64))
    points = torch.stack([corner, beyond]).expand(PAIRS, -1, -1)
    moved, jacobian = maps.value_and_jacobian(points)
    torch.testing.assert_close(moved[:, 1] - beyond, moved[:, 0] - corner)
    torch.testing.assert_close(jacobian[:, 1], torch.eye(grid.dimension, dtype=torch.float64).expand(PAIRS, -1, -1))
    assert isinstance(maps.one(0), ContinuedDisplacement)


def test_one_transform_is_the_map_of_one_pair(grid: Grid) -> None:
    transform = affine_maps(grid).one(1)
    single, points = SingleMap(transform), points_within_cells(grid)[:1]
    assert len(single) == 1 and single.one(0) is transform and isinstance(transform, AffineTransform)
    torch.testing.assert_close(single(points)[0], transform(points[0]))
    torch.testing.assert_close(single.value_and_jacobian(points)[1][0], transform.value_and_jacobian(points[0])[1])


@kinds
def test_rows_are_the_maps_of_some_pairs(make: Callable[[Grid], Maps], grid: Grid) -> None:
    maps, points = make(grid), points_within_cells(grid)
    part = maps.rows(slice(1, PAIRS))
    assert len(part) == PAIRS - 1
    for computed, expected in zip(part.value_and_jacobian(points[1:]), maps.value_and_jacobian(points), strict=True):
        torch.testing.assert_close(computed, expected[1:])


@kinds
def test_a_callers_autocast_does_not_round_positions(make: Callable[[Grid], Maps], grid: Grid) -> None:
    """As in a network that warps images between its steps; products in bfloat16 would be wrong by a millimetre."""
    maps, points = make(grid), points_within_cells(grid).float()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = maps(points), *maps.value_and_jacobian(points)
    for found, expected in zip(rounded, (maps(points), *maps.value_and_jacobian(points)), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
