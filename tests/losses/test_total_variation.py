import math

import pytest
import torch

from nephi.errors import UsageError
from nephi.losses import VARIATION_EPSILON, total_variation


@pytest.mark.parametrize("shape", [(5, 3, 3), (2, 5, 3, 3), (4, 2, 2)])
def test_agrees_with_loops(shape: tuple[int, ...]) -> None:
    jacobian = torch.rand(shape, dtype=torch.float64)
    total, matrices = 0.0, jacobian.reshape(-1, *shape[-2:]).tolist()
    for matrix in matrices:
        squared = sum((v - (i == j)) ** 2 for i, row in enumerate(matrix) for j, v in enumerate(row))
        total += math.sqrt(squared + VARIATION_EPSILON**2) - VARIATION_EPSILON
    assert abs(total_variation(jacobian).item() - total / len(matrices)) < 1e-12


def test_a_jump_costs_as_much_as_a_gradual_change() -> None:
    """A displacement of 20 mm over 40 mm, in one step of 2 mm or evenly."""
    gradual, jump = (torch.eye(2, dtype=torch.float64).repeat(20, 1, 1) for _ in range(2))
    gradual[:, 0, 1] = 0.5
    jump[7, 0, 1] = 10.0
    assert 0.8 < total_variation(jump).item() / total_variation(gradual).item() < 1.3


def test_the_identity_and_small_gradients() -> None:
    identity = torch.eye(3).expand(6, 3, 3)
    assert total_variation(identity) == 0
    small = identity.double() + 1e-6 * torch.ones(3, 3, dtype=torch.float64)
    expected = 9e-12 / (2 * VARIATION_EPSILON)  # quadratic near 0, without cancellation
    assert total_variation(small).item() == pytest.approx(expected, rel=1e-6)


def test_gradients_agree_with_differences() -> None:
    jacobian = torch.rand(4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(total_variation, (jacobian,))
    identity = torch.eye(2, dtype=torch.float64).expand(3, 2, 2).clone().requires_grad_()
    assert torch.autograd.grad(total_variation(identity), identity)[0].abs().max() == 0


@pytest.mark.parametrize("shape", [(3,), (5, 3), (5, 2, 3), (5, 4, 4), (0, 3, 3)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"jacobian: expected shape \(\.\.\., N, D, D\)"):
        total_variation(torch.rand(shape))
