"""The distance of Geman and McClure: closed form, derivative, and a scale that outliers do not determine."""

import pytest
import torch

from nephi.losses import geman_mcclure, robust_scale, squared_excess


def test_values_are_those_of_the_formula() -> None:
    distances = torch.tensor([0.0, 1.0, 2.0, 6.0, 2e6], dtype=torch.float64)
    values = geman_mcclure(distances.square(), torch.tensor(2.0, dtype=torch.float64))
    expected = [0.0, 2 * 0.25 / 1.25, 2 * 0.5, 2 * 9 / 10, 2.0]
    assert values.tolist() == pytest.approx(expected, rel=1e-9)


def test_gradient_by_differences_is_largest_at_its_published_place() -> None:
    scale = torch.tensor(3.0, dtype=torch.float64)
    distances = torch.linspace(0.0, 9.0, 901, dtype=torch.float64).requires_grad_(True)
    (gradient,) = torch.autograd.grad(geman_mcclure(distances.square(), scale).sum(), distances)
    step = 1e-5
    plain = distances.detach()
    values = [geman_mcclure((plain + sign * step).square(), scale) for sign in (1, -1)]
    torch.testing.assert_close(gradient, (values[0] - values[1]) / (2 * step), rtol=1e-6, atol=1e-9)
    assert gradient[0] == 0
    assert float(plain[gradient.argmax()]) == pytest.approx(3 / 3**0.5, abs=0.02)
    assert float(gradient.max()) == pytest.approx(0.6495, abs=1e-3)


def test_scale_is_three_medians_whatever_the_outliers() -> None:
    squares = torch.arange(1.0, 12.0, dtype=torch.float64).square()
    moved = squares.clone()
    moved[7:] = 1e12
    assert float(robust_scale(squares, 0.1)) == pytest.approx(18.0)
    assert float(robust_scale(moved, 0.1)) == pytest.approx(18.0)
    assert float(robust_scale(torch.zeros(5, dtype=torch.float64), 0.5)) == pytest.approx(0.5)


def test_excess_and_its_gradient() -> None:
    squares = torch.tensor([0.0, 0.25, 4.0, 25.0], dtype=torch.float64, requires_grad=True)
    excess = squared_excess(squares, 1.0)
    assert excess.tolist() == pytest.approx([0.0, 0.0, 1.0, 16.0])
    (gradient,) = torch.autograd.grad(excess.sum(), squares)
    assert gradient.tolist() == pytest.approx([0.0, 0.0, 2 * 1 / (2 * 2), 2 * 4 / (2 * 5)])
