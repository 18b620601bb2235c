"""The kernel of neural fields against its twin in torch: values, Jacobians, and the gradients of everything."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from nephi.fields import FieldSettings, NeuralField, build_fields
from nephi.fields.compiled import Compiled
from nephi.geometry import Grid


def oblique_grid(dimension: int) -> Grid:
    affine = torch.eye(dimension + 1, dtype=torch.float64)
    affine[:-1, :-1] = torch.tensor([[-2.0, 0.3, 0.0], [0.1, 1.5, 0.2], [0.0, -0.4, 2.5]])[:dimension, :dimension]
    affine[:-1, -1] = torch.tensor([40.0, -10.0, 7.0])[:dimension]
    return Grid((30, 25, 20)[:dimension], affine)


def random_field(dimension: int, channels: int = 4) -> NeuralField:
    generator = torch.Generator().manual_seed(3)
    settings = FieldSettings(spacings=(30.0, 11.0), channels=channels, hidden=8)
    field = build_fields(settings, oblique_grid(dimension), generator).forward_field
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return field


def points_in_and_around(field: NeuralField, count: int) -> Tensor:
    """Points of which more than a third lie outside the field's box."""
    generator = torch.Generator().manual_seed(4)
    unit = 1.4 * torch.rand(count, field.dimension, generator=generator) - 0.2
    return torch.linalg.solve(field.domain.to_unit, (unit - field.domain.offset).T).T.contiguous()


def twin(field: NeuralField) -> NeuralField:
    """The same field in double precision, which torch computes."""
    return copy.deepcopy(field).double()


def served(field: NeuralField) -> bool:
    return Compiled().arrays(field) is not None


@pytest.mark.parametrize("count", [1, 15, 16, 100])
@pytest.mark.parametrize("channels", [4, 8])
@pytest.mark.parametrize("dimension", [2, 3])
def test_values_and_all_gradients_agree_with_the_twin(dimension: int, channels: int, count: int) -> None:
    field = random_field(dimension, channels)
    other = twin(field)
    assert served(field) and not served(other)
    generator = torch.Generator().manual_seed(5)
    x = points_in_and_around(field, max(count, 2))[:count]
    up = (
        torch.randn(count, dimension, generator=generator),
        torch.randn(count, dimension, dimension, generator=generator),
    )
    found = []
    for model, dtype in ((field, torch.float32), (other, torch.float64)):
        points = x.to(dtype, copy=True).requires_grad_()
        values, jacobians = model.value_and_jacobian(points)
        ((values * up[0]).sum() + (jacobians * up[1]).sum()).backward()
        found.append([values, jacobians, points.grad, *(p.grad for p in model.parameters())])
    for ours, theirs in zip(*found, strict=True):
        scale = float(theirs.detach().abs().max())
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=1e-4, atol=2e-4 * scale)


@pytest.mark.parametrize("dimension", [2, 3])
def test_values_alone_are_the_same(dimension: int) -> None:
    field = random_field(dimension)
    points = points_in_and_around(field, 50).requires_grad_()
    torch.testing.assert_close(field(points), field.value_and_jacobian(points)[0])
    (by_value,) = torch.autograd.grad(field(points).sum(), points)
    (by_both,) = torch.autograd.grad(field.value_and_jacobian(points)[0].sum(), points)
    torch.testing.assert_close(by_value, by_both)


def test_a_jacobian_alone_has_a_gradient() -> None:
    field = random_field(3)
    points = points_in_and_around(field, 20)
    field.value_and_jacobian(points)[1].square().sum().backward()
    other = twin(field)
    other.value_and_jacobian(points.double())[1].square().sum().backward()
    for ours, theirs in zip(field.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-3)


def test_several_threads_give_the_same_bits() -> None:
    field = random_field(3).requires_grad_(False)
    points = points_in_and_around(field, 50_000)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = field(points)
        torch.set_num_threads(3)
        assert torch.equal(field(points), alone)
    finally:
        torch.set_num_threads(threads)


def test_a_point_at_nan_is_nan_and_its_neighbours_are_not() -> None:
    field = random_field(3).requires_grad_(False)
    points = points_in_and_around(field, 20)
    points[7, 1] = torch.nan
    values, jacobians = field.value_and_jacobian(points)
    assert torch.isnan(values).any(dim=1).nonzero().tolist() == [[7]]
    assert torch.isfinite(jacobians[:7]).all()


def test_no_points_give_no_values() -> None:
    values, jacobians = random_field(2).value_and_jacobian(torch.zeros(0, 2))
    assert values.shape == (0, 2) and jacobians.shape == (0, 2, 2)


def test_gradients_in_place_are_the_same_sums() -> None:
    pair = build_fields(FieldSettings(spacings=(30.0, 11.0)), oblique_grid(3), torch.Generator().manual_seed(3))
    x = points_in_and_around(pair.forward_field, 30)
    found = []
    for in_place in (False, True):
        for parameter in pair.parameters():
            parameter.grad = torch.ones_like(parameter)  # what is there already counts
        values, jacobians = pair.forward_field.value_and_jacobian(x)
        back = pair.inverse_field(values)
        with pair.gradients_in_place() if in_place else nullcontext():
            ((back - x).square().sum() + jacobians.square().sum()).backward()
        found.append([p.grad for p in pair.parameters()])
    torch.testing.assert_close(found[0], found[1])
    assert any(bool((gradient != 1).any()) for gradient in found[0])
