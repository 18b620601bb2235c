"""Coordinate attention: closed forms, derivatives, permutations, and its bounds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import nephi.transforms.attention_dense as module
from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.transforms import AttentionMaps, CoordinateAttention

PAIRS, CHANNELS, STEP = 3, 5, 1e-5


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def key_grid(grid: Grid) -> Grid:
    """Two voxels more on every side."""
    affine = grid.affine.clone()
    affine[:-1, -1] = grid.voxel_to_world_points(torch.full((grid.dimension,), -2.0, dtype=torch.float64))
    return Grid(tuple(n + 4 for n in grid.shape), affine)


def attention_maps(grid: Grid, continues: bool = False) -> AttentionMaps:
    """With a linear part beyond the bounds, if it `continues`."""
    keys = key_grid(grid)
    present = torch.rand(PAIRS, *keys.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64) < 0.6
    low = 0.4 + torch.rand(PAIRS, grid.dimension, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    bounds = torch.stack([low, torch.tensor(grid.shape) - 1.0 - low.flip(0)], dim=1)
    features, key_values = random(PAIRS, CHANNELS, *grid.shape), random(PAIRS, CHANNELS, *keys.shape, seed=1)
    linear = random(PAIRS, grid.dimension, grid.dimension, seed=4) if continues else None
    return AttentionMaps(features, grid, key_values, keys, present, bounds, linear)


def points_within_cells(grid: Grid, margin: float = 0.0) -> Tensor:
    fractions = torch.rand(PAIRS, 25, grid.dimension, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    voxels = fractions * (torch.tensor(grid.shape) - 1 + 2 * margin) - margin
    return grid.voxel_to_world_points(voxels.floor() + (voxels - voxels.floor()).clamp(0.05, 0.95))


def softmax_mean(transform: CoordinateAttention, point: Tensor) -> Tensor:
    """The formula for one voxel of the features, in a loop."""
    index = tuple(transform.grid.world_to_voxel_points(point).round().long().tolist())
    scores = [float(transform.features[index].double() @ key.double()) for key in transform.keys]
    weights = torch.tensor(scores, dtype=torch.float64).exp()
    return (weights.unsqueeze(-1) * transform.positions).sum(dim=0) / weights.sum()


def test_values_are_means_of_positions_at_the_voxel_centres(grid: Grid) -> None:
    parts = attention_maps(grid)
    maps = AttentionMaps(parts.features, grid, parts.keys, parts.key_grid, parts.present)
    centre = [n // 2 for n in grid.shape]
    points = grid.voxel_to_world_points(torch.tensor([centre, [0] * grid.dimension], dtype=torch.float64))
    values = maps(points.expand(PAIRS, -1, -1))
    for pair in range(PAIRS):
        transform = maps.one(pair)
        assert len(transform.keys) == int(maps.present[pair].sum())
        for point, value in zip(points, values[pair], strict=True):
            torch.testing.assert_close(value, softmax_mean(transform, point), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("continues", [False, True])
def test_values_and_jacobians_of_each_pair(grid: Grid, continues: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    maps, points = attention_maps(grid, continues), points_within_cells(grid, margin=2.5)
    values, jacobians = maps.value_and_jacobian(points)
    torch.testing.assert_close(maps(points), values)
    for pair in range(PAIRS):
        value, jacobian = maps.one(pair).value_and_jacobian(points[pair])
        torch.testing.assert_close(value, values[pair], rtol=1e-5, atol=1e-4)  # stored in single precision
        torch.testing.assert_close(jacobian, jacobians[pair], rtol=1e-4, atol=1e-4)
    part = maps.rows(slice(1, PAIRS)).value_and_jacobian(points[1:])
    torch.testing.assert_close(part, (values[1:], jacobians[1:]))
    monkeypatch.setattr(module, "SCORES", 1)  # one point at a time
    torch.testing.assert_close(maps.value_and_jacobian(points), (values, jacobians))
    torch.testing.assert_close(maps(points), values)


@pytest.mark.parametrize("continues", [False, True])
def test_jacobians_are_those_of_central_differences(grid: Grid, continues: bool) -> None:
    """Inside, beyond one bound, and beyond several."""
    maps, points = attention_maps(grid, continues), points_within_cells(grid, margin=2.5)
    _, jacobians = maps.value_and_jacobian(points)
    assert not torch.allclose(jacobians, torch.eye(grid.dimension, dtype=torch.float64), atol=0.5)
    for axis in range(grid.dimension):
        step = torch.zeros(grid.dimension, dtype=torch.float64)
        step[axis] = STEP
        slope = (maps(points + step) - maps(points - step)) / (2 * STEP)
        torch.testing.assert_close(jacobians[..., axis], slope, rtol=1e-6, atol=1e-6)


def test_beyond_the_bounds_a_map_continues_with_its_linear_part(grid: Grid) -> None:
    maps, d = attention_maps(grid, continues=True), grid.dimension
    corner = grid.voxel_to_world_points(maps.bounds[:, 1])[:, None]
    unit = torch.rand(PAIRS, 9, d, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    steps = grid.voxel_to_world_vectors(unit)
    assert maps.continuation is not None
    torch.testing.assert_close(maps(corner + steps), maps(corner) + steps @ maps.continuation.mT)


def test_a_loss_on_jacobians_is_differentiable(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid.from_spacing((3, 2), (2.0, 3.0), (1.0, -1.0))
    monkeypatch.setattr(module, "SCORES", 100)  # several blocks

    def loss(features: Tensor, keys: Tensor, points: Tensor) -> Tensor:
        values, jacobians = AttentionMaps(features, grid, keys, key_grid(grid)).value_and_jacobian(points)
        return jacobians.square().sum() + values.square().mean()

    points = grid.voxel_to_world_points(torch.tensor([[0.3, 0.6], [1.7, 0.2], [2.4, 0.5]], dtype=torch.float64))
    keys = key_grid(grid)
    inputs = 0.5 * random(2, 3, *grid.shape), 0.5 * random(2, 3, *keys.shape, seed=1), points.expand(2, -1, -1).clone()
    assert torch.autograd.gradcheck(loss, [tensor.requires_grad_() for tensor in inputs])


@pytest.mark.parametrize("channels", [2, 40])  # fewer and more than the coordinates, the corners of a cell
def test_many_points_in_a_cell_have_the_values_of_the_dense_form(grid: Grid, channels: int) -> None:
    """Points inside, beyond the bounds, and alone in their cells; a cell in which the dense form takes over."""
    features = random(*grid.shape, channels)
    features[tuple(n - 1 for n in grid.shape)] *= 1e4  # exponentials that overflow
    keys, positions = random(60, channels, seed=1), 50 * random(60, grid.dimension, seed=2)
    last = torch.tensor(grid.shape, dtype=torch.float64) - 1
    bounds = torch.stack([0.1 + 0 * last, last - 0.2])
    transform = CoordinateAttention(features, grid, keys, positions, bounds, random(*2 * last.shape, seed=5))
    fractions = torch.rand(200, grid.dimension, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    points = grid.voxel_to_world_points(torch.cat([fractions - 0.3, last - fractions, fractions * last]))
    values, jacobians = transform.value_and_jacobian(points)
    differentiable = points.clone().requires_grad_()
    expected = [part.detach() for part in transform.value_and_jacobian(differentiable)]
    assert not transform(points).requires_grad and transform(differentiable).requires_grad
    torch.testing.assert_close(transform(points), transform(differentiable).detach(), rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(values, expected[0], rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(jacobians, expected[1], rtol=1e-9, atol=1e-9)
    single = transform(points[:200].float())  # float32: rounding, where the map is steep
    assert float((single - values[:200]).norm(dim=-1).amax()) < 2e-2


def test_cells_of_a_slice_of_one_voxel() -> None:
    grid = Grid.from_spacing((5, 1, 4), (3.0, 2.0, 4.0))
    transform = CoordinateAttention(random(5, 1, 4, 6), grid, random(30, 6, seed=1), 9 * random(30, 3, seed=2))
    voxels = torch.rand(400, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    points = grid.voxel_to_world_points(voxels * torch.tensor([1.0, 4.0, 1.0]) - torch.tensor([0.0, 2.0, 0.0]))
    expected = transform.value_and_jacobian(points.clone().requires_grad_())
    for computed, other in zip(transform.value_and_jacobian(points), expected, strict=True):
        torch.testing.assert_close(computed, other.detach(), rtol=1e-9, atol=1e-9)


def test_permuting_keys_with_their_positions_changes_nothing(grid: Grid) -> None:
    transform, points = attention_maps(grid).one(0), points_within_cells(grid)[0]
    order = torch.randperm(len(transform.keys), generator=torch.Generator().manual_seed(0))
    keys, positions = transform.keys[order], transform.positions[order]
    permuted = CoordinateAttention(transform.features, grid, keys, positions, transform.bounds)
    for computed, expected in zip(
        permuted.value_and_jacobian(points), transform.value_and_jacobian(points), strict=True
    ):
        torch.testing.assert_close(computed, expected)


def test_large_features_select_the_best_match(grid: Grid) -> None:
    """f_B = f_A shifted by whole voxels: the map is that shift at the voxel centres."""
    keys = key_grid(grid)
    table = random(CHANNELS, *keys.shape)
    table = table / table.norm(dim=0, keepdim=True)
    offset = torch.tensor([3, 1, 2][: grid.dimension])
    shifted = table
    for axis, start in enumerate(offset.tolist()):
        shifted = shifted.narrow(axis + 1, start, grid.shape[axis])
    maps = AttentionMaps(1e6 * shifted[None], grid, table[None], keys)
    points = grid.voxel_to_world_points(torch.cartesian_prod(*[torch.arange(n) for n in grid.shape]).double())
    expected = points + grid.voxel_to_world_vectors((offset - 2).double())
    torch.testing.assert_close(maps(points[None])[0], expected, rtol=0, atol=1e-6)


def test_the_displacement_continues_beyond_the_bounds(grid: Grid) -> None:
    maps, d = attention_maps(grid), grid.dimension
    corner = grid.voxel_to_world_points(maps.bounds[:, :1])
    beyond = grid.voxel_to_world_points(maps.bounds[:, :1] - 7.0)
    moved, jacobian = maps.value_and_jacobian(torch.cat([corner, beyond], dim=1))
    torch.testing.assert_close(moved[:, 1:] - beyond, moved[:, :1] - corner)
    torch.testing.assert_close(jacobian[:, 1], torch.eye(d, dtype=torch.float64).expand(PAIRS, -1, -1))


def test_a_pair_without_keys_is_a_mean_of_all_positions(grid: Grid) -> None:
    keys = key_grid(grid)
    none = torch.zeros(1, *keys.shape, dtype=torch.bool)
    maps = AttentionMaps(torch.zeros(1, 2, *grid.shape), grid, torch.zeros(1, 2, *keys.shape), keys, none)
    points = grid.centre_world().float().reshape(1, 1, -1)
    torch.testing.assert_close(maps(points), points, rtol=0, atol=1e-4)
    torch.testing.assert_close(maps.one(0)(points[0]), points[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("continues", [False, True])
def test_the_same_map_in_another_world(grid: Grid, continues: bool) -> None:
    transform, points = attention_maps(grid, continues).one(0), points_within_cells(grid, margin=2.5)[0]
    matrix = torch.eye(grid.dimension + 1, dtype=torch.float64)
    matrix[:-1] += 0.4 * random(grid.dimension, grid.dimension + 1, seed=5)

    def mapped(points: Tensor) -> Tensor:
        return points @ matrix[:-1, :-1].T + matrix[:-1, -1]

    torch.testing.assert_close(transform.conjugated(matrix)(mapped(points)), mapped(transform(points)))


def test_parts_that_do_not_fit_are_refused(grid: Grid) -> None:
    transform = attention_maps(grid).one(0)
    features, keys, positions = transform.features, transform.keys, transform.positions
    with pytest.raises(DataError, match=r"^features: expected shape .* on this grid, got"):
        CoordinateAttention(features[1:], grid, keys, positions)
    with pytest.raises(DataError, match=r"^keys: expected shape \('M', 5\), M at least 1, got \(0, 5\)"):
        CoordinateAttention(features, grid, keys[:0], positions[:0])
    with pytest.raises(DataError, match=r"^positions: expected shape"):
        CoordinateAttention(features, grid, keys, positions[1:])
    with pytest.raises(DataError, match=r"^keys: expected finite values"):
        CoordinateAttention(features, grid, keys * torch.nan, positions)
    with pytest.raises(DataError, match=r"^bounds: expected two points between"):
        CoordinateAttention(features, grid, keys, positions, transform.bounds + 50)
    with pytest.raises(DataError, match=r"^continuation: expected a matrix"):
        CoordinateAttention(features, grid, keys, positions, transform.bounds, positions[:1])
