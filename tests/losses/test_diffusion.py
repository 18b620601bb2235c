import pytest
import torch

from nephi.errors import UsageError
from nephi.losses import diffusion


@pytest.mark.parametrize("shape", [(5, 3, 3), (2, 5, 3, 3), (4, 2, 2)])
def test_agrees_with_loops(shape) -> None:
    jacobian = torch.rand(shape, dtype=torch.float64)
    dimension = shape[-1]
    matrices = jacobian.reshape(-1, dimension, dimension).tolist()
    total = 0.0
    for matrix in matrices:
        for i in range(dimension):
            for j in range(dimension):
                total += (matrix[i][j] - (1.0 if i == j else 0.0)) ** 2
    assert abs(diffusion(jacobian).item() - total / len(matrices)) < 1e-12


@pytest.mark.parametrize("dimension", [2, 3])
def test_uniform_scaling(dimension) -> None:
    identity = torch.eye(dimension, dtype=torch.float64).expand(6, dimension, dimension)
    assert diffusion(identity) == 0
    torch.testing.assert_close(diffusion(1.5 * identity).item(), 0.25 * dimension)


def test_gradients_agree_with_differences() -> None:
    jacobian = torch.rand(4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(diffusion, (jacobian,))


@pytest.mark.parametrize("shape", [(3,), (5, 3), (5, 2, 3), (5, 4, 4), (0, 3, 3)])
def test_wrong_shapes_are_refused(shape) -> None:
    with pytest.raises(UsageError, match=r"jacobian: expected shape \(\.\.\., N, D, D\)"):
        diffusion(torch.rand(shape))
