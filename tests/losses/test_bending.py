"""Test bending energy, and second derivatives from differences of exact Jacobians."""

from collections.abc import Callable

import pytest
import torch

from nephi.errors import UsageError
from nephi.losses import bending, hessian_by_differences

Tensor = torch.Tensor


def quadratic(coefficients: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return the map phi_i = sum_jk C_ijk x_j x_k with its Jacobian; H_ijk = C_ijk + C_ikj."""
    symmetric = coefficients + coefficients.transpose(-1, -2)

    def value_and_jacobian(x: Tensor) -> tuple[Tensor, Tensor]:
        jacobian = torch.einsum("ijk,...k->...ij", symmetric, x)
        return torch.einsum("...ij,...j->...i", jacobian, x) / 2, jacobian

    return value_and_jacobian


def waves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the map phi_i = sin(x_0 + 2 x_1 + ...), the same for each i, and its Jacobian."""
    slopes = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    phase = (x * slopes).sum(-1)
    jacobian = phase.cos()[..., None, None] * slopes.expand(x.shape[-1], -1)
    return phase.sin().unsqueeze(-1).expand_as(x), jacobian


@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (2, 4, 2, 2, 2)])
def test_bending_against_loops(shape) -> None:
    hessian = torch.rand(shape, dtype=torch.float64)
    points = hessian.reshape(-1, shape[-1] ** 3).tolist()
    expected = sum(entry**2 for point in points for entry in point) / len(points)
    assert abs(bending(hessian).item() - expected) < 1e-12


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("batch", [(6,), (2, 3)])
@pytest.mark.parametrize("step", [0.1, 5.0])
def test_hessian_of_a_quadratic_map_is_exact(dimension, batch, step) -> None:
    generator = torch.Generator().manual_seed(0)
    coefficients = torch.randn(dimension, dimension, dimension, generator=generator, dtype=torch.float64)
    points = 10 * torch.rand(*batch, dimension, generator=generator, dtype=torch.float64)
    hessian = hessian_by_differences(quadratic(coefficients), points, step)
    expected = coefficients + coefficients.transpose(-1, -2)
    torch.testing.assert_close(hessian, expected.expand(*batch, -1, -1, -1), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(bending(hessian), expected.square().sum(), rtol=1e-8, atol=1e-8)


def test_affine_maps_have_no_bending_energy() -> None:
    matrix = torch.rand(3, 3, dtype=torch.float64)
    points = torch.rand(7, 3, dtype=torch.float64)
    hessian = hessian_by_differences(lambda x: (x @ matrix.T, matrix.expand(*x.shape, 3)), points, 1.0)
    assert bending(hessian) == 0


def test_error_falls_with_the_square_of_the_step() -> None:
    points = torch.rand(9, 2, dtype=torch.float64)
    slopes = torch.tensor([1.0, 2.0], dtype=torch.float64)
    curvature = -torch.sin(points @ slopes)[:, None, None, None] * torch.outer(slopes, slopes)
    coarse, fine = (
        (hessian_by_differences(waves, points, step) - curvature).abs().max().item() for step in (0.02, 0.01)
    )
    assert 3.9 < coarse / fine < 4.1


def test_hessian_is_symmetrised_from_one_call_of_the_map() -> None:
    """Differences of J_ij along k and of J_ik along j differ; the result is their mean."""
    calls = []

    def asymmetric(x: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(tuple(x.shape))
        jacobian = torch.zeros(*x.shape, 2, dtype=x.dtype)
        jacobian[..., 0, 1] = 6 * x[..., 0]
        return x, jacobian

    hessian = hessian_by_differences(asymmetric, torch.rand(5, 2, dtype=torch.float64), 0.5)
    expected = torch.zeros(2, 2, 2, dtype=torch.float64)
    expected[0, 0, 1] = expected[0, 1, 0] = 3
    torch.testing.assert_close(hessian, expected.expand(5, 2, 2, 2))
    assert calls == [(20, 2)]


def test_gradients_agree_with_differences() -> None:
    coefficients = torch.rand(2, 2, 2, dtype=torch.float64, requires_grad=True)
    points = torch.rand(3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda c: bending(hessian_by_differences(quadratic(c), points, 0.5)), (coefficients,)
    )
    assert torch.autograd.gradcheck(bending, (torch.rand(3, 2, 2, 2, dtype=torch.float64).requires_grad_(),))


@pytest.mark.parametrize("shape", [(3, 3), (5, 3, 3, 2), (5, 4, 4, 4), (0, 3, 3, 3)])
def test_wrong_hessians_are_refused(shape) -> None:
    with pytest.raises(UsageError, match=r"hessian: expected shape \(\.\.\., N, D, D, D\)"):
        bending(torch.rand(shape))


def test_wrong_points_and_steps_are_refused() -> None:
    with pytest.raises(UsageError, match=r"points: expected shape .*got \(3,\)"):
        hessian_by_differences(waves, torch.rand(3), 1.0)
    for step in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="step: expected a positive distance"):
            hessian_by_differences(waves, torch.rand(4, 3), step)
