"""Compare the kernel of neural fields with its torch twin: values, Jacobians and all gradients."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from nephi.fields import FieldSettings, NeuralField, build_fields
from nephi.fields.compiled import Compiled
from nephi.geometry import Grid
from nephi.kernels.library import LIBRARIES, load


def oblique_grid(dimension: int) -> Grid:
    affine = torch.eye(dimension + 1, dtype=torch.float64)
    affine[:-1, :-1] = torch.tensor([[-2.0, 0.3, 0.0], [0.1, 1.5, 0.2], [0.0, -0.4, 2.5]])[:dimension, :dimension]
    affine[:-1, -1] = torch.tensor([40.0, -10.0, 7.0])[:dimension]
    return Grid((30, 25, 20)[:dimension], affine)


def random_field(dimension: int, channels: int = 4, interpolation: str = "linear") -> NeuralField:
    generator = torch.Generator().manual_seed(3)
    settings = FieldSettings(spacings=(30.0, 11.0), channels=channels, hidden=8, interpolation=interpolation)
    field = build_fields(settings, oblique_grid(dimension), generator).forward_field
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return field


def points_in_and_around(field: NeuralField, count: int) -> Tensor:
    """Return points of which more than a third lie outside of the field's box."""
    generator = torch.Generator().manual_seed(4)
    unit = 1.4 * torch.rand(count, field.dimension, generator=generator) - 0.2
    return torch.linalg.solve(field.domain.to_unit, (unit - field.domain.offset).T).T.contiguous()


def twin(field: NeuralField) -> NeuralField:
    """Return the field in double precision, which torch computes."""
    return copy.deepcopy(field).double()


def has_kernel(field: NeuralField) -> bool:
    return Compiled().arrays(field) is not None


@pytest.mark.parametrize("count", [1, 15, 16, 100])
@pytest.mark.parametrize("channels", [4, 8])
@pytest.mark.parametrize("dimension", [2, 3])
def test_values_and_all_gradients_agree_with_the_twin(dimension: int, channels: int, count: int) -> None:
    compare_with_twin(random_field(dimension, channels), count)


@pytest.mark.parametrize("name", LIBRARIES["AVX512"])
@pytest.mark.parametrize("interpolation", ["quadratic", "cubic"])
@pytest.mark.parametrize("dimension", [2, 3])
def test_splines_agree_with_the_twin(
    monkeypatch: pytest.MonkeyPatch, dimension: int, interpolation: str, name: str
) -> None:
    """With every library that this processor can run."""
    fastest = LIBRARIES.get(torch.backends.cpu.get_cpu_capability(), ("_native",))
    if name not in fastest or (native := load(name)) is None:
        pytest.skip(f"this processor cannot run {name}")
    monkeypatch.setattr("nephi.kernels.field.library", lambda: native)
    for channels, count in ((4, 100), (8, 15), (4, 1)):
        compare_with_twin(random_field(dimension, channels, interpolation), count)


def compare_with_twin(field: NeuralField, count: int) -> None:
    """Compare values, Jacobians and all gradients with those of the twin."""
    dimension, other = field.dimension, twin(field)
    assert has_kernel(field) and not has_kernel(other)
    generator = torch.Generator().manual_seed(5)
    x = points_in_and_around(field, max(count, 2))[:count]
    upstream = (
        torch.randn(count, dimension, generator=generator),
        torch.randn(count, dimension, dimension, generator=generator),
    )
    results = []
    for model, dtype in ((field, torch.float32), (other, torch.float64)):
        points = x.to(dtype, copy=True).requires_grad_()
        values, jacobians = model.value_and_jacobian(points)
        ((values * upstream[0]).sum() + (jacobians * upstream[1]).sum()).backward()
        results.append([values, jacobians, points.grad, *(p.grad for p in model.parameters())])
    for by_kernel, by_torch in zip(*results, strict=True):
        scale = float(by_torch.detach().abs().max())
        torch.testing.assert_close(by_kernel.double(), by_torch.double(), rtol=1e-4, atol=2e-4 * scale)


@pytest.mark.parametrize("interpolation", ["linear", "quadratic"])
@pytest.mark.parametrize("dimension", [2, 3])
def test_values_without_jacobians_are_the_same(dimension: int, interpolation: str) -> None:
    field = random_field(dimension, interpolation=interpolation)
    points = points_in_and_around(field, 50).requires_grad_()
    torch.testing.assert_close(field(points), field.value_and_jacobian(points)[0])
    (by_value,) = torch.autograd.grad(field(points).sum(), points)
    (by_both,) = torch.autograd.grad(field.value_and_jacobian(points)[0].sum(), points)
    torch.testing.assert_close(by_value, by_both)


def test_the_gradient_of_jacobians_alone_agrees_with_the_twin() -> None:
    field = random_field(3)
    points = points_in_and_around(field, 20)
    field.value_and_jacobian(points)[1].square().sum().backward()
    other = twin(field)
    other.value_and_jacobian(points.double())[1].square().sum().backward()
    for by_kernel, by_torch in zip(field.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(by_kernel.grad.double(), by_torch.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("interpolation", ["linear", "quadratic", "cubic"])
def test_a_nan_point_yields_nan_without_affecting_others(interpolation: str) -> None:
    field = random_field(3, interpolation=interpolation).requires_grad_(False)
    points = points_in_and_around(field, 20)
    points[7, 1] = torch.nan
    values, jacobians = field.value_and_jacobian(points)
    assert torch.isnan(values).any(dim=1).nonzero().tolist() == [[7]]
    assert torch.isfinite(jacobians[:7]).all()


def test_empty_points_yield_empty_values() -> None:
    values, jacobians = random_field(2).value_and_jacobian(torch.zeros(0, 2))
    assert values.shape == (0, 2) and jacobians.shape == (0, 2, 2)


def test_gradients_accumulated_in_place_are_the_same() -> None:
    pair = build_fields(FieldSettings(spacings=(30.0, 11.0)), oblique_grid(3), torch.Generator().manual_seed(3))
    x = points_in_and_around(pair.forward_field, 30)
    results = []
    for in_place in (False, True):
        for parameter in pair.parameters():
            parameter.grad = torch.ones_like(parameter)  # existing gradients are added to
        values, jacobians = pair.forward_field.value_and_jacobian(x)
        back = pair.inverse_field(values)
        with pair.gradients_in_place() if in_place else nullcontext():
            ((back - x).square().sum() + jacobians.square().sum()).backward()
        results.append([p.grad for p in pair.parameters()])
    torch.testing.assert_close(results[0], results[1])
    assert any(bool((gradient != 1).any()) for gradient in results[0])
