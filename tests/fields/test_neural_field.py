"""Every encoding with every decoder, with and without codes, in 2-D and 3-D: values, Jacobians, gradients."""

import pytest
import torch
from torch import Tensor

from nephi.fields import DECODERS, ENCODINGS, FieldPair, NeuralField, build_fields, neural_field
from nephi.geometry import Grid
from nephi.transforms.fitting import interpolation_error

from .rounding import rounding_bounds

CODES = {"no codes": {}, "codes": {"global_codes": 2, "local_codes": 3}}

every_encoding = pytest.mark.parametrize("encoding", ENCODINGS)
every_field = [
    every_encoding,
    pytest.mark.parametrize("decoder", DECODERS),
    pytest.mark.parametrize("codes", CODES),
]


def for_every_field(test):
    for mark in every_field:
        test = mark(test)
    return test


@pytest.fixture
def field(encoding, decoder, codes, dimension, grids, small_settings, trained_pair) -> NeuralField:
    settings = small_settings(encoding=encoding, decoder=decoder, **CODES[codes])
    return trained_pair(settings, grids[dimension]).double().forward_field


@pytest.fixture
def plain_field(encoding, grid, small_settings, trained_pair) -> NeuralField:
    return trained_pair(small_settings(encoding=encoding, global_codes=1), grid).forward_field


@for_every_field
def test_jacobian_is_that_of_autograd(field, dimension, grids, points_in, derivatives) -> None:
    points = points_in(grids[dimension], 20, margin=1.0)
    value, jacobian = field.value_and_jacobian(points)
    torch.testing.assert_close(value, field(points))
    assert (value - points).abs().min() > 1e-6
    torch.testing.assert_close(jacobian, derivatives(field, points).permute(1, 2, 0))


@every_encoding
@pytest.mark.parametrize("local_codes", [0, 2])
@pytest.mark.parametrize("interpolation", ["linear", "quadratic"])
def test_jacobians_are_continuous_unless_latent_values_are_linear(
    encoding, local_codes, interpolation, grids, small_settings, trained_pair
) -> None:
    """On a line through the box the Jacobian changes evenly, or jumps at the planes of nodes."""
    settings = small_settings(encoding=encoding, local_codes=local_codes, interpolation=interpolation)
    field = trained_pair(settings, grids[3]).double().forward_field
    is_linear = interpolation == "linear" and (local_codes > 0 or encoding in ("dense", "nested", "hash"))
    assert field.has_continuous_jacobian != is_linear
    ends = torch.tensor([[0.1, 0.2, 0.15], [0.8, 0.9, 0.7]], dtype=torch.float64) * (torch.tensor(grids[3].shape) - 1)
    first, last = grids[3].voxel_to_world_points(ends)
    line = torch.lerp(first, last, torch.linspace(0, 1, 5_001, dtype=torch.float64)[:, None])
    jacobian = field.value_and_jacobian(line)[1].detach()
    jumps = (jacobian[1:] - jacobian[:-1]).norm(dim=(-2, -1))
    assert (float(jumps.max()) > 20 * float(jumps.median())) == is_linear


@for_every_field
def test_gradients_of_values_and_jacobians(field, dimension, grids, points_in) -> None:
    """Each parameter's derivative along a random direction is the central difference of the loss."""
    points = points_in(grids[dimension], 6)
    generator = torch.Generator().manual_seed(3)
    on_values = torch.randn(6, dimension, generator=generator, dtype=torch.float64)
    on_jacobians = torch.randn(6, dimension, dimension, generator=generator, dtype=torch.float64)

    def loss() -> Tensor:
        value, jacobian = field.value_and_jacobian(points)
        return (value * on_values).sum() + (jacobian * on_jacobians).square().sum()

    named = dict(field.named_parameters())
    gradients = torch.autograd.grad(loss(), list(named.values()))
    step = 1e-5
    for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            parameter += step * direction
            ahead = loss()
            parameter -= 2 * step * direction
            behind = loss()
            parameter += step * direction
        slope = ((ahead - behind) / (2 * step)).item()
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-6), name
        assert (gradient != 0).any(), name


@for_every_field
def test_fresh_fields_are_exactly_the_identity(
    encoding, decoder, codes, dimension, grids, small_settings, points_in
) -> None:
    settings = small_settings(encoding=encoding, decoder=decoder, **CODES[codes])
    pair = build_fields(settings, grids[dimension], torch.Generator().manual_seed(0))
    points = points_in(grids[dimension], 30, margin=2.0).float()
    for fresh in (pair.forward_field, pair.inverse_field):
        value, jacobian = fresh.value_and_jacobian(points)
        assert torch.equal(value, points) and torch.equal(fresh(points), points)
        assert (jacobian == torch.eye(dimension)).all()


@every_encoding
def test_displacement_continues_outside_the_domain(plain_field, grid, points_in) -> None:
    points = points_in(grid, 60, margin=2.0).float()
    voxel = grid.world_to_voxel_points(points)
    nearest = grid.voxel_to_world_points(voxel.clamp(min=0).minimum(torch.tensor(grid.shape) - 1))
    value, jacobian = plain_field.value_and_jacobian(points)
    torch.testing.assert_close(value - points, plain_field(nearest) - nearest, rtol=0, atol=1e-3)
    for axis, direction in enumerate(grid.direction.T.float()):
        beyond = (voxel[:, axis] < -1e-3) | (voxel[:, axis] > grid.shape[axis] - 1 + 1e-3)
        assert 5 < beyond.sum() < 55
        along = (jacobian[beyond] - torch.eye(grid.dimension)) @ direction
        torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-5)


@every_encoding
def test_any_number_of_point_axes(plain_field, grid, points_in) -> None:
    points, d = points_in(grid, 24).float(), grid.dimension
    value, jacobian = plain_field.value_and_jacobian(points)
    found = plain_field.value_and_jacobian(points.reshape(2, 3, 4, d))
    assert torch.equal(found[0], value.reshape(2, 3, 4, d)) and torch.equal(found[1], jacobian.reshape(2, 3, 4, d, d))
    on_values, _ = rounding_bounds(plain_field, points[:1])  # products of other sizes round in another way
    torch.testing.assert_close(plain_field(points[0]), value[0], rtol=0, atol=on_values)
    value, jacobian = plain_field.value_and_jacobian(points[:0])
    assert value.shape == plain_field(points[:0]).shape == (0, d) and jacobian.shape == (0, d, d)


@every_encoding
def test_points_keep_the_digits_of_float64(plain_field, grid, points_in) -> None:
    """The network computes in float32, the sum with the points in float64."""
    points = points_in(grid)
    value, jacobian = plain_field.value_and_jacobian(points)
    assert value.dtype == jacobian.dtype == plain_field(points).dtype == torch.float64
    moved = plain_field(points.float()).double() - points.float().double()
    torch.testing.assert_close(value - points, moved, rtol=0, atol=1e-3)
    tiny = points + 1e-9
    assert torch.equal(tiny.float(), points.float())
    torch.testing.assert_close(plain_field(tiny) - plain_field(points), tiny - points, rtol=0, atol=1e-12)


@every_encoding
def test_blocks_do_not_matter(plain_field, grid, points_in, monkeypatch) -> None:
    points = points_in(grid, 50).float()
    whole = plain_field.value_and_jacobian(points)
    bounds = rounding_bounds(plain_field, points)
    for one, bound in zip(whole, bounds, strict=True):
        assert (one.roll(7, dims=0) - one).abs().max() > 20 * bound  # what a block in the wrong place would change
    monkeypatch.setattr(neural_field, "BLOCK", 7)
    with torch.no_grad():
        blocks = plain_field.value_and_jacobian(points)
        torch.testing.assert_close(plain_field(points), whole[0], rtol=0, atol=bounds[0])
    for one, other, bound in zip(blocks, whole, bounds, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=bound)


def test_single_slice(small_settings, trained_pair, derivatives) -> None:
    """A 3-D image of one slice: the field is defined in the slice and outside."""
    grid = Grid.from_spacing((6, 7, 1), (1.0, 1.0, 5.0))
    field = trained_pair(small_settings(), grid).double().forward_field
    points = torch.tensor([[2.2, 3.3, 0.0], [2.2, 3.3, 1.1], [2.2, 3.3, -1.1]], dtype=torch.float64)
    value, jacobian = field.value_and_jacobian(points)
    assert torch.isfinite(value).all()
    torch.testing.assert_close(jacobian, derivatives(field, points).permute(1, 2, 0))


@pytest.fixture
def pair(dimension, grids, small_settings, trained_pair) -> FieldPair:
    return trained_pair(small_settings(global_codes=2, local_codes=3), grids[dimension])


def test_codes_are_shared_and_networks_are_not(pair) -> None:
    assert pair.codes is pair.forward_field.codes is pair.inverse_field.codes
    forward, inverse = ({id(p) for p in f.parameters()} for f in (pair.forward_field, pair.inverse_field))
    assert forward & inverse == {id(p) for p in pair.codes.parameters()}


def test_codes_change_both_maps(pair, dimension, grids, points_in) -> None:
    points = points_in(grids[dimension]).float()
    before = [field(points) for field in (pair.forward_field, pair.inverse_field)]
    with torch.no_grad():
        pair.codes.global_code += 0.5
    after = [field(points) for field in (pair.forward_field, pair.inverse_field)]
    for one, other in zip(before, after, strict=True):
        assert (one != other).any()


def test_round_tables_changes_tables_only(pair) -> None:
    before = {name: p.detach().clone() for name, p in pair.named_parameters()}
    pair.round_tables()
    for name, parameter in pair.named_parameters():
        expected = before[name].half().float() if name.endswith("table") else before[name]
        assert torch.equal(parameter, expected), name
    assert any(name.endswith("codes.local.table") for name in before)


@pytest.mark.parametrize("spacings", [(4.0, 2.0), (3.0, 2.0)])
def test_cells_are_those_between_whose_planes_it_is_smooth(grid, small_settings, trained_pair, spacings) -> None:
    """A displacement field on them comes closer with the square of the distance of its nodes."""
    field = trained_pair(small_settings(encoding="nested", spacings=spacings), grid).forward_field.double()
    assert field.cells is not None
    fractions = torch.rand(20_000, grid.dimension, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    points = grid.voxel_to_world_points(fractions * (torch.tensor(grid.shape) - 1))
    on, off = (
        [interpolation_error(field, field.cells.divided([m * n - odd for n in cells]), points) for m in (2, 8)]
        for cells in [[n - 1 for n in field.cells.shape]]
        for odd in (0, 1)
    )
    # With 4 times as many nodes along each axis the first order would be 4 times as close, the second up to 16.
    assert on[1] < on[0] / 6 and off[1] > 3 * on[1]


@pytest.mark.parametrize("encoding", ["nested", "dense"])
def test_fields_of_splines_need_no_planes(grid, small_settings, trained_pair, encoding) -> None:
    """Without kinks, a displacement field on any grid comes closer with the square of the distance of its nodes."""
    settings = small_settings(encoding=encoding, spacings=(3.5, 2.0), interpolation="quadratic")
    field = trained_pair(settings, grid).forward_field.double()
    fractions = torch.rand(20_000, grid.dimension, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    points = grid.voxel_to_world_points(fractions * (torch.tensor(grid.shape) - 1))
    errors = [interpolation_error(field, grid.divided([m * n - 1 for n in grid.shape]), points) for m in (2, 8)]
    assert errors[1] < errors[0] / 6


APART = {"spacings": (3.5, 2.0)}  # their planes do not meet, halved or not
OTHERS = [
    {"encoding": "dense", **APART},
    {"encoding": "hash", **APART},
    {"encoding": "fourier"},
    {"encoding": "nested", "local_codes": 2},
]


@pytest.mark.parametrize("changes", OTHERS)
def test_other_fields_have_no_cells(grid, small_settings, trained_pair, changes) -> None:
    assert trained_pair(small_settings(**changes), grid).forward_field.cells is None
