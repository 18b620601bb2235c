"""Test the closed-form determinant and the penalties on it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nephi.errors import UsageError
from nephi.losses import folding, jacobian_determinant, volume_change

both_dimensions = pytest.mark.parametrize("dimension", [2, 3])


def scaling(*factors: float) -> torch.Tensor:
    """Return a Jacobian for each factor, of a 3-D map that scales the first axis."""
    jacobian = torch.eye(3, dtype=torch.float64).repeat(len(factors), 1, 1)
    jacobian[:, 0, 0] = torch.tensor(factors, dtype=torch.float64)
    return jacobian


@both_dimensions
@given(st.integers(0, 1000))
def test_determinant_agrees_with_torch(dimension, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    jacobian = torch.randn(2, 7, dimension, dimension, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(jacobian_determinant(jacobian), torch.linalg.det(jacobian), rtol=1e-9, atol=1e-12)


@both_dimensions
def test_determinant_of_one_matrix(dimension) -> None:
    swap = torch.eye(dimension)[[1, 0, 2][:dimension]]
    assert jacobian_determinant(swap) == -1


def test_volume_change_against_loops() -> None:
    jacobian = torch.randn(20, 3, 3, dtype=torch.float64)
    expected = sum(abs(torch.linalg.det(matrix).item() - 1) for matrix in jacobian) / 20
    assert abs(volume_change(jacobian).item() - expected) < 1e-10


def test_volume_change_of_known_maps() -> None:
    torch.testing.assert_close(volume_change(scaling(0.5, 2.0, -1.0)).item(), (0.5 + 1.0 + 2.0) / 3)
    shear = scaling(1.0)
    shear[0, 0, 2] = 5.0
    assert volume_change(shear) == 0


def test_folding_against_loops() -> None:
    jacobian = torch.randn(20, 2, 2, dtype=torch.float64)
    expected = sum(max(0.3 - torch.linalg.det(matrix).item(), 0) ** 2 for matrix in jacobian) / 20
    assert abs(folding(jacobian, floor=0.3).item() - expected) < 1e-10


def test_folding_of_known_maps() -> None:
    torch.testing.assert_close(folding(scaling(-1.0, 1.0)).item(), 1.1**2 / 2)
    unfolded = scaling(0.2, 1.0, 3.0).requires_grad_()
    value = folding(unfolded)
    (gradient,) = torch.autograd.grad(value, unfolded)
    assert value == 0 and (gradient == 0).all()


@both_dimensions
@pytest.mark.parametrize("function", [jacobian_determinant, volume_change, folding])
def test_gradients_agree_with_differences(function, dimension) -> None:
    generator = torch.Generator().manual_seed(1)
    jacobian = torch.randn(5, dimension, dimension, generator=generator, dtype=torch.float64)
    assert (jacobian_determinant(jacobian) < 0).any()
    assert torch.autograd.gradcheck(function, (jacobian.requires_grad_(),))


@pytest.mark.parametrize("function", [jacobian_determinant, volume_change, folding])
@pytest.mark.parametrize("shape", [(3,), (5, 3), (5, 2, 3), (5, 4, 4), (5, 1, 1), (0, 3, 3)])
def test_wrong_shapes_are_refused(function, shape) -> None:
    with pytest.raises(UsageError, match="jacobian: expected shape"):
        function(torch.rand(shape))
