"""The polished inverse: accurate wherever the field is invertible, with and without kernels and unrefined inverse."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nephi.fields import FieldPair, FieldSettings, PolishedInverse, build_fields
from nephi.fields.inverse import solve_displacement
from nephi.geometry import Grid, determinant
from nephi.transforms import NumericalInverse, invert


def pair_of(
    dimension: int, strength: float, inverse: bool = True, far: float = 0.0, interpolation: str = "linear"
) -> tuple[FieldPair, Grid]:
    """Fields of slopes up to about `strength`, unrelated to each other: a bad start; `far` mm from the origin."""
    affine = torch.diag(torch.tensor([*[-1.5, 2.0, 2.5][:dimension], 1.0], dtype=torch.float64))
    affine[:-1, -1] = far
    grid = Grid((31, 26, 22)[:dimension], affine)
    generator = torch.Generator().manual_seed(7)
    settings = FieldSettings(spacings=(24.0, 12.0), interpolation=interpolation, channels=4, hidden=8, inverse=inverse)
    found = build_fields(settings, grid, generator)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    found.requires_grad_(False)
    fields = [found.forward_field] + ([found.inverse_field] if found.inverse_field is not None else [])
    points = grid.voxel_centres()
    for field in fields:
        slopes = field.value_and_jacobian(points)[1] - torch.eye(dimension)
        field.amplitude.mul_(strength / float(torch.linalg.matrix_norm(slopes, ord=2).max()))
    return found, grid


def around(grid: Grid, count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """World points of which some lie outside the grid."""
    generator = torch.Generator().manual_seed(8)
    unit = 1.2 * torch.rand(count, grid.dimension, generator=generator, dtype=torch.float64) - 0.1
    return grid.voxel_to_world_points(unit * (torch.tensor(grid.shape) - 1)).to(dtype)


@pytest.fixture(params=["kernel", "twin"])
def place(request: pytest.FixtureRequest) -> Callable[[FieldPair], FieldPair]:
    """Leave a pair to the kernel, or take it to double precision, which torch computes."""
    return (lambda pair: pair) if request.param == "kernel" else (lambda pair: pair.double())


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("dimension", [2, 3])
def test_phi_maps_it_back_to_a_thousandth(
    dimension: int, trained: bool, place: Callable[[FieldPair], FieldPair]
) -> None:
    pair, grid = pair_of(dimension, 0.6, inverse=trained)
    pair = place(pair)
    inverse = PolishedInverse(pair.forward_field, pair.inverse_field)
    for count in (1, 17, 500):
        points = around(grid, count)
        found = inverse(points)
        assert found.dtype == points.dtype and found.shape == points.shape
        assert float((pair.forward_field(found) - points).norm(dim=-1).max()) < 1.05e-3
    if pair.inverse_field is not None:
        assert float((pair.forward_field(pair.inverse_field(points)) - points).norm(dim=-1).mean()) > 0.1


@pytest.mark.parametrize("interpolation", ["linear", "quadratic", "cubic"])
def test_kernel_and_reference_agree(interpolation: str) -> None:
    pair, grid = pair_of(3, 0.6, interpolation=interpolation)
    points = around(grid, 300)
    kernel = PolishedInverse(pair.forward_field, pair.inverse_field, 1e-4)(points)
    pair = pair.double()
    twin = PolishedInverse(pair.forward_field, pair.inverse_field, 1e-6)(points)
    torch.testing.assert_close(kernel, twin, rtol=0, atol=5e-4)


def test_no_precision_is_lost_far_from_the_origin(place: Callable[[FieldPair], FieldPair]) -> None:
    """At 100 m single precision rounds points to 0.008 mm."""
    pair, grid = pair_of(3, 0.3, far=1e5)
    pair = place(pair)
    points = around(grid, 200)
    start = torch.zeros(200, 3).to(pair.forward_field.amplitude.dtype)
    displacement, error = solve_displacement(pair.forward_field, points, start, 1e-3)
    assert float(error.max()) <= 1e-3
    back = displacement + pair.forward_field.displacement(points + displacement)
    assert float(back.norm(dim=-1).max()) < 0.02  # the field itself reads its points in single precision


def test_its_jacobian_is_that_of_finite_differences() -> None:
    pair, grid = pair_of(3, 0.5)
    pair = pair.double()
    inverse = PolishedInverse(pair.forward_field, pair.inverse_field, tolerance=1e-9)
    points = around(grid, 20)
    value, jacobian = inverse.value_and_jacobian(points)
    torch.testing.assert_close(value, inverse(points))
    step = 1e-5
    for j in range(3):
        shift = step * torch.eye(3, dtype=torch.float64)[j]
        slope = (inverse(points + shift) - inverse(points - shift)) / (2 * step)
        torch.testing.assert_close(jacobian[..., j], slope, rtol=1e-3, atol=1e-3)


def test_a_folding_field_is_inverted_where_possible(place: Callable[[FieldPair], FieldPair]) -> None:
    """Broyden's iteration fails at some points; Newton's, damped, takes over, and nothing is worse than the start."""
    pair, grid = pair_of(3, 4.0)
    pair = place(pair)
    field, trained = pair.forward_field, pair.inverse_field
    sources = around(grid, 2000)
    points, jacobian = field.value_and_jacobian(sources)  # reached, at least from one side
    assert bool((determinant(jacobian) < 0).any())
    start = trained.displacement(points)
    _, error = solve_displacement(field, points, start, 1e-3)
    assert 0 < int((error > 1e-3).sum()) < 1000
    left = (field(PolishedInverse(field, trained)(points)) - points).norm(dim=-1)
    assert float((left > 1.1e-3).double().mean()) < 0.1
    assert bool((left <= (field(trained(points)) - points).norm(dim=-1) + 1.1e-3).all())


def test_a_close_guess_is_kept_and_a_bad_guess_does_no_harm(
    place: Callable[[FieldPair], FieldPair],
) -> None:
    pair, grid = pair_of(3, 0.6)
    pair = place(pair)
    inverse = PolishedInverse(pair.forward_field, pair.inverse_field)
    points = around(grid, 100)
    guess = inverse(points) + 0.1
    guess[::3] = torch.nan
    guess[1::3] = 1e6
    gap = pair.forward_field(inverse.solve_from(points, guess)) - points
    assert float(gap.norm(dim=-1).max()) < 1.05e-3


def test_it_is_an_inverse_that_can_be_inverted() -> None:
    pair, _ = pair_of(2, 0.3)
    inverse = PolishedInverse(pair.forward_field, pair.inverse_field)
    assert isinstance(inverse, NumericalInverse)
    assert invert(inverse) is pair.forward_field


def test_points_of_any_shape() -> None:
    pair, grid = pair_of(2, 0.3)
    inverse = PolishedInverse(pair.forward_field, pair.inverse_field)
    points = around(grid, 24)
    assert torch.equal(inverse(points.reshape(2, 3, 4, 2)).reshape(24, 2), inverse(points))
    assert inverse(points[:0]).shape == (0, 2)


def test_a_nan_point_does_not_delay_the_others(place: Callable[[FieldPair], FieldPair]) -> None:
    pair, grid = pair_of(3, 0.5)
    pair = place(pair)
    points = around(grid, 40)
    points[7, 1] = torch.nan
    displacement, error = solve_displacement(
        pair.forward_field, points, pair.inverse_field.displacement(points), tolerance=1e-3
    )
    fine = torch.arange(40) != 7
    assert float(error[fine].max()) <= 1e-3 and not float(error[7]) <= 1e-3
    assert displacement.shape == points.shape
