"""Test that GradICON's penalty is 0 for inverses and agrees with finite differences of the composed map."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nephi.errors import UsageError
from nephi.losses import gradicon


@pytest.mark.parametrize("shape", [(5, 3, 3), (2, 5, 3, 3), (4, 2, 2)])
def test_agrees_with_loops(shape) -> None:
    outer, inner = torch.rand(2, *shape, dtype=torch.float64)
    dimension = shape[-1]
    axes = range(dimension)
    total, count = 0.0, 0
    flat = (x.reshape(-1, dimension, dimension).tolist() for x in (outer, inner))
    for a, b in zip(*flat, strict=True):
        for i in axes:
            for j in axes:
                total += (sum(a[i][k] * b[k][j] for k in axes) - (1.0 if i == j else 0.0)) ** 2
        count += 1
    assert abs(gradicon(outer, inner).item() - total / count) < 1e-12


@given(st.integers(0, 1000), st.sampled_from([2, 3]))
def test_zero_for_exact_inverses(seed, dimension) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.eye(dimension, dtype=torch.float64).repeat(6, 1, 1)
    matrix += 0.2 * torch.rand(matrix.shape, generator=generator, dtype=torch.float64)
    assert gradicon(torch.linalg.inv(matrix), matrix) < 1e-24
    assert gradicon(matrix, matrix) > 1e-3


def test_against_finite_differences_of_the_composed_map() -> None:
    """As in the published code: d(g(f(x)) - x)/dx by differences, for two nonlinear maps."""
    points = torch.rand(20, 2, dtype=torch.float64)

    def inner(x: torch.Tensor) -> torch.Tensor:
        return x + 0.1 * torch.sin(3 * x.flip(-1))

    def outer(y: torch.Tensor) -> torch.Tensor:
        return y - 0.1 * torch.sin(2 * y + y.flip(-1) ** 2)

    step = 1e-5
    total = 0.0
    for axis in range(2):
        shift = torch.zeros(2, dtype=torch.float64)
        shift[axis] = step
        column = (outer(inner(points + shift)) - outer(inner(points - shift)) - 2 * shift) / (2 * step)
        total += column.square().sum(1).mean().item()
    jacobians = (
        torch.func.vmap(torch.func.jacrev(outer))(inner(points)),
        torch.func.vmap(torch.func.jacrev(inner))(points),
    )
    assert abs(gradicon(*jacobians).item() - total) < 1e-8
    assert total > 1e-2


def test_gradients_agree_with_differences() -> None:
    outer, inner = torch.rand(2, 4, 3, 3, dtype=torch.float64).requires_grad_().unbind()
    assert torch.autograd.gradcheck(gradicon, (outer, inner))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"jacobian_inner: expected shape .*got \(5, 3\)"):
        gradicon(torch.rand(5, 3, 3), torch.rand(5, 3))
    with pytest.raises(UsageError, match=r"jacobian_outer.*\(5, 3, 3\), got \(3, 3\)"):
        gradicon(torch.rand(3, 3), torch.rand(5, 3, 3))
