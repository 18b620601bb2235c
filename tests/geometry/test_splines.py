"""Weights of uniform B-splines against scipy's basis, and splines through values."""

import pytest
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from nephi.geometry import spline, spline_coefficients, spline_sites, spline_slopes, spline_weights, spline_with_slopes

DEGREES = pytest.mark.parametrize("degree", [2, 3])
INSIDE = torch.linspace(0, 1, 23, dtype=torch.float64)


@DEGREES
def test_weights_and_slopes_are_those_of_scipy(degree: int) -> None:
    """Node k of a cell is the basis function whose support ends k + 1 cells after the cell's start."""
    weights, slopes = spline_weights(INSIDE, degree), spline_slopes(INSIDE, degree)
    for node in range(degree + 1):
        basis = BSpline.basis_element(range(node - degree, node + 2))
        for found, expected in ((weights, basis), (slopes, basis.derivative())):
            torch.testing.assert_close(found[node], torch.from_numpy(expected(INSIDE.numpy())), rtol=0, atol=1e-14)


@DEGREES
def test_weights_sum_to_one_and_continue_in_the_next_cell(degree: int) -> None:
    for function, total in ((spline_weights, 1.0), (spline_slopes, 0.0)):
        assert float((sum(function(INSIDE, degree)) - total).abs().max()) < 1e-15
        start, end = function(INSIDE[:1], degree), function(INSIDE[-1:], degree)
        assert start[-1] == end[0] == 0
        torch.testing.assert_close(torch.cat(end[1:]), torch.cat(start[:-1]), rtol=0, atol=1e-15)


def sites(cells: tuple[int, ...], degree: int) -> Tensor:
    axes = [spline_sites(n, degree) for n in cells]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def evaluate(coefficients: Tensor, unit: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    """Evaluate one point at a time; return values `(N, C)` and derivatives by the unit cube `(N, C, D)`."""
    d = unit.shape[-1]
    cells = torch.tensor(coefficients.shape[:d]) - degree
    values, slopes = [], []
    for position in unit * cells:
        low = position.floor().minimum(cells - 1).long()
        nodes = coefficients[tuple(slice(n, n + degree + 1) for n in low.tolist())]
        value, by_axis = spline_with_slopes(nodes, list(position - low))
        torch.testing.assert_close(value, spline(nodes, list(position - low)))
        values.append(value)
        slopes.append(torch.stack(by_axis, dim=-1) * cells)
    return torch.stack(values), torch.stack(slopes)


@DEGREES
@pytest.mark.parametrize("cells", [(1, 4), (3, 2, 5)])
def test_polynomials_of_the_degree_are_reproduced_up_to_the_border(degree: int, cells: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(3, len(cells), degree + 1, generator=generator, dtype=torch.float64)
    powers = torch.arange(degree + 1)

    def polynomial(x: Tensor) -> Tensor:
        return (factors * x[..., None, :, None] ** powers).sum(dim=-1).prod(dim=-1)

    coefficients = spline_coefficients(polynomial(sites(cells, degree)), degree)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * len(cells))
    unit = torch.cat([corners, torch.rand(20, len(cells), generator=generator, dtype=torch.float64)]).requires_grad_()
    value, slope = evaluate(coefficients, unit.detach(), degree)
    expected = polynomial(unit)
    torch.testing.assert_close(value, expected.detach(), rtol=0, atol=1e-11)
    for channel in range(3):
        (by_unit,) = torch.autograd.grad(expected[:, channel].sum(), unit, retain_graph=True)
        torch.testing.assert_close(slope[:, channel], by_unit, rtol=0, atol=1e-10)


def test_linear_coefficients_are_the_values_at_the_planes() -> None:
    values = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(spline_coefficients(values, 1), values)
    assert torch.equal(spline_sites(4, 1), torch.linspace(0, 1, 5, dtype=torch.float64))
