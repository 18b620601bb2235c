"""Lookups against scipy, finite differences and loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from nephi.geometry import (
    Grid,
    cell_differences,
    interpolate,
    interpolate_batch,
    interpolate_labels,
    interpolate_majority,
    interpolate_nearest,
    interpolate_tables,
    interpolate_tables_with_gradient,
    interpolate_with_gradient,
)

SHAPES = {2: (6, 5), 3: (4, 5, 6)}
with_channels = pytest.mark.parametrize("channels", [(), (3,)], ids=["scalar", "channels"])


def voxels(dimension: int, channels: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(dimension)
    data = 200 * torch.rand(*SHAPES[dimension], *channels, generator=generator, dtype=torch.float64)
    return data.to(dtype)


def points_around(dimension: int, count: int = 60, margin: float = 2.0) -> torch.Tensor:
    """Points in the array and up to `margin` voxels around it, none on a border between cells."""
    generator = torch.Generator().manual_seed(7)
    fractions = torch.rand(count, dimension, generator=generator, dtype=torch.float64)
    points = fractions * (torch.tensor(SHAPES[dimension]) - 1 + 2 * margin) - margin
    return points.floor() + (points - points.floor()).clamp(0.05, 0.95)


def by_scipy(data: torch.Tensor, points: torch.Tensor, order: int = 1) -> torch.Tensor:
    d = points.shape[-1]
    planes = data.double().numpy().reshape(*data.shape[:d], -1)
    found = [
        map_coordinates(planes[..., c], points.T.numpy(), order=order, mode="nearest") for c in range(planes.shape[-1])
    ]
    return torch.from_numpy(np.stack(found, axis=-1)).reshape(len(points), *data.shape[d:])


@with_channels
def test_lookup_against_scipy(dimension, channels) -> None:
    data, points = voxels(dimension, channels), points_around(dimension)
    expected = by_scipy(data, points)
    torch.testing.assert_close(interpolate(data, points), expected)
    torch.testing.assert_close(interpolate_with_gradient(data, points)[0], expected)
    torch.testing.assert_close(interpolate(data, points.requires_grad_()).detach(), expected)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.int32, torch.float32])
def test_types_of_voxels(dimension, dtype) -> None:
    data, points = voxels(dimension, dtype=dtype), points_around(dimension)
    assert interpolate(data, points.float()).dtype == torch.float32
    torch.testing.assert_close(interpolate(data, points), by_scipy(data, points))


def test_values_at_nan_are_nan(dimension) -> None:
    data, points = voxels(dimension, (2,)), points_around(dimension, 4)
    points[1, 0] = torch.nan
    value, gradient = interpolate_with_gradient(data, points)
    assert value[1].isnan().all() and gradient[1].isnan().any()
    values = [value, interpolate(data, points), interpolate(data, points.float()), interpolate(data[..., 0], points)]
    for each in values:
        assert each[1].isnan().all() and each[[0, 2, 3]].isfinite().all()


@with_channels
def test_memory_order_does_not_matter(dimension, channels) -> None:
    data, points = voxels(dimension, channels), points_around(dimension)
    axes = list(range(dimension))
    every_order = [axes[::-1], [*axes[1:], axes[0]]]  # Fortran, and neither
    if channels:
        every_order.append([dimension, *axes])  # one component after the other
    for order in every_order:
        order = order if len(order) == data.ndim else [*order, dimension]
        stored = data.permute(order).contiguous().permute(np.argsort(order).tolist())
        assert torch.equal(stored, data) and not stored.is_contiguous()
        assert torch.equal(interpolate(stored, points), interpolate(data, points))
        assert torch.equal(interpolate_nearest(stored, points), interpolate_nearest(data, points))


def test_any_number_of_point_axes(dimension) -> None:
    data, points = voxels(dimension, (3,)), points_around(dimension, 24)
    values, gradients = interpolate_with_gradient(data, points)
    for shape in [(24,), (2, 3, 4)]:
        value, gradient = interpolate_with_gradient(data, points.reshape(*shape, dimension))
        assert torch.equal(value, values.reshape(*shape, 3))
        assert torch.equal(gradient, gradients.reshape(*shape, 3, dimension))
    assert torch.equal(interpolate(data, points[0]), values[0])
    assert interpolate(data, points[:0]).shape == (0, 3)


@with_channels
def test_gradient_is_the_central_difference(dimension, channels) -> None:
    data, points = voxels(dimension, channels), points_around(dimension)
    step = 1e-3
    _, gradient = interpolate_with_gradient(data, points)
    for axis, shift in enumerate(step * torch.eye(dimension, dtype=torch.float64)):
        difference = (interpolate(data, points + shift) - interpolate(data, points - shift)) / (2 * step)
        torch.testing.assert_close(gradient[..., axis], difference, rtol=0, atol=1e-8)


@with_channels
def test_backward(dimension, channels) -> None:
    data, points = voxels(dimension, channels), points_around(dimension, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: interpolate(data, x), (points,))
    assert torch.autograd.gradcheck(lambda x: interpolate_with_gradient(data, x), (points,))


def test_border_value_goes_on_with_no_slope_across(dimension) -> None:
    data = voxels(dimension)
    upper = torch.tensor(SHAPES[dimension]) - 1
    points = points_around(dimension, margin=3.0)
    at_border = points.clamp(min=0).minimum(upper)
    value, gradient = interpolate_with_gradient(data, points)
    torch.testing.assert_close(value, interpolate(data, at_border))
    beyond = points != at_border
    assert beyond.any() and (gradient[beyond] == 0).all() and (gradient[~beyond] != 0).all()


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_linear_functions_are_reproduced(dimension, coefficients) -> None:
    *slope, offset = coefficients[: dimension + 1]
    slope = torch.tensor(slope, dtype=torch.float64)
    lattice = torch.stack(torch.meshgrid(*map(torch.arange, SHAPES[dimension]), indexing="ij"), dim=-1).double()
    points = points_around(dimension, margin=0.0)
    value, gradient = interpolate_with_gradient(lattice @ slope + offset, points)
    torch.testing.assert_close(value, points @ slope + offset)
    torch.testing.assert_close(gradient, slope.expand_as(gradient))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axis_of_one_voxel(axis) -> None:
    data, points = voxels(3).narrow(axis, 2, 1), points_around(3)
    kept = [a for a in range(3) if a != axis]
    value, gradient = interpolate_with_gradient(data, points)
    flat_value, flat_gradient = interpolate_with_gradient(data.squeeze(axis), points[:, kept])
    torch.testing.assert_close(value, flat_value)
    torch.testing.assert_close(gradient[:, kept], flat_gradient)
    assert (gradient[:, axis] == 0).all()
    assert torch.equal(interpolate_nearest(data, points), interpolate_nearest(data.squeeze(axis), points[:, kept]))


def test_single_voxel() -> None:
    value, gradient = interpolate_with_gradient(torch.full((1, 1, 1), 5), torch.tensor([[0.0, -3.0, 9.0]]))
    assert value.tolist() == [5.0] and gradient.tolist() == [[0.0, 0.0, 0.0]]


def test_ends_of_the_array(dimension) -> None:
    data = voxels(dimension)
    last = torch.tensor([n - 1.0 for n in data.shape], dtype=torch.float64)
    assert interpolate(data, last) == data.flatten()[-1] and interpolate(data, 0 * last) == data.flatten()[0]


@with_channels
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float64])
def test_nearest_against_scipy(dimension, channels, dtype) -> None:
    data, points = voxels(dimension, channels, dtype), points_around(dimension)
    found = interpolate_nearest(data, points)
    assert found.dtype == dtype
    assert torch.equal(found.double(), by_scipy(data, points, order=0))


def test_majority_is_the_largest_interpolated_indicator(dimension) -> None:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 4, SHAPES[dimension], generator=generator, dtype=torch.uint8)
    points = points_around(dimension, 200)
    indicators = torch.stack([by_scipy((labels == label), points) for label in range(4)])
    top = indicators.topk(2, dim=0).values
    clear = top[0] > top[1] + 1e-6
    assert clear.float().mean() > 0.9
    assert torch.equal(interpolate_majority(labels, points)[clear], indicators.argmax(dim=0).double()[clear])


def test_majority_is_not_the_nearest_label() -> None:
    """Two corners of one label outweigh the nearest corner."""
    labels = torch.tensor([[1, 2], [2, 3]])
    assert interpolate_majority(labels, torch.tensor([0.45, 0.45])) == 2
    assert interpolate_nearest(labels, torch.tensor([0.45, 0.45])) == 1


def test_large_labels_in_float64() -> None:
    labels = torch.full((3, 3), 614_454_277)
    point = torch.tensor([0.3, 1.2])
    assert interpolate_nearest(labels, point) == 614_454_277
    assert interpolate_majority(labels, point.double()) == 614_454_277


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_interpolated_image_by_image(grid: Grid, channels: int) -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(2, channels, *grid.shape, generator=generator, dtype=torch.float64)
    fractions = torch.rand(2, 20, grid.dimension, generator=generator, dtype=torch.float64)
    points = grid.voxel_to_world_points(fractions * (torch.tensor(grid.shape) + 1) - 1)
    values = interpolate_batch(images, grid, points)
    for k in range(2):
        expected = by_scipy(images[k].movedim(0, -1), grid.world_to_voxel_points(points[k]))
        torch.testing.assert_close(values[k], expected)


def test_gradients_reach_data_and_points(dimension) -> None:
    data, points = voxels(dimension, (2,)), points_around(dimension, 6, margin=-0.5)
    inputs = data.requires_grad_(), points.requires_grad_()
    assert torch.autograd.gradcheck(interpolate, inputs)
    assert torch.autograd.gradcheck(interpolate_with_gradient, inputs)


def test_tables_are_interpolated_as_each_alone(grid: Grid) -> None:
    """Values and gradients per voxel, beyond the border too; derivatives for points and tables."""
    generator = torch.Generator().manual_seed(0)
    tables = torch.randn(2, 3, *grid.shape, generator=generator, dtype=torch.float64)
    unit = torch.rand(2, 50, grid.dimension, generator=generator, dtype=torch.float64)
    inputs = tables.requires_grad_(), ((1.6 * unit - 0.3) * (torch.tensor(grid.shape) - 1)).requires_grad_()
    each = zip(tables.movedim(1, -1), inputs[1], strict=True)
    expected = [torch.stack(parts) for parts in zip(*(interpolate_with_gradient(*both) for both in each), strict=True)]
    found = interpolate_tables_with_gradient(tables, cell_differences(tables), inputs[1])
    torch.testing.assert_close(interpolate_tables(*inputs), found[0])
    for value, other in zip(found, expected, strict=True):
        torch.testing.assert_close(value, other)
        slopes = [torch.autograd.grad(v.square().sum(), inputs, retain_graph=True) for v in (value, other)]
        torch.testing.assert_close(*slopes)


def test_tables_of_one_voxel_along_an_axis_and_points_on_voxels() -> None:
    tables = torch.arange(12.0, dtype=torch.float64).reshape(1, 1, 4, 3, 1)
    voxels = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in (4, 3, 1)])[None]
    found = interpolate_tables_with_gradient(tables, cell_differences(tables), voxels)
    torch.testing.assert_close(found[0].flatten(), tables.flatten())
    torch.testing.assert_close(found[1][0, :, 0], torch.tensor([3.0, 1.0, 0.0], dtype=torch.float64).expand(12, 3))


@pytest.mark.parametrize("d", [2, 3])
def test_labels_are_interpolated_as_their_indicators(d: int) -> None:
    """Also labels that no float32 holds; differentiable with respect to the points."""
    generator = torch.Generator().manual_seed(0)
    shape = (5, 4, 3)[:d]
    data = torch.randint(4, shape, generator=generator) + 2**40
    labels = torch.tensor([2, 0, 9]) + 2**40
    points = (7 * torch.rand(20, d, generator=generator, dtype=torch.float64) - 1).requires_grad_()
    found = interpolate_labels(data, points, labels)
    for label, column in zip(labels, found.T, strict=True):
        torch.testing.assert_close(column, interpolate((data == label).double(), points))
    assert torch.autograd.gradcheck(lambda x: interpolate_labels(data, x, labels), points)
