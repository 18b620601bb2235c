import pytest
import torch

from nephi.errors import UsageError
from nephi.losses import icon


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3), (4, 2)])
def test_agrees_with_loops(shape) -> None:
    composed, points = torch.rand(2, *shape, dtype=torch.float64)
    dimension = shape[-1]
    total, count = 0.0, 0
    for y, x in zip(composed.reshape(-1, dimension).tolist(), points.reshape(-1, dimension).tolist(), strict=True):
        total += sum((a - b) ** 2 for a, b in zip(y, x, strict=True))
        count += 1
    assert abs(icon(composed, points).item() - total / count) < 1e-12


def test_constant_error_of_known_length() -> None:
    points = 100 * torch.rand(9, 3, dtype=torch.float64)
    error = torch.tensor([1.0, -2.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(icon(points + error, points), torch.tensor(9.0, dtype=torch.float64))
    assert icon(points, points) == 0


def test_gradients_agree_with_differences() -> None:
    composed, points = torch.rand(2, 4, 3, dtype=torch.float64).requires_grad_().unbind()
    assert torch.autograd.gradcheck(icon, (composed, points))


@pytest.mark.parametrize("shape", [(3,), (5, 4), (0, 3)])
def test_wrong_shapes_are_refused(shape) -> None:
    with pytest.raises(UsageError, match=r"points: expected shape \(\.\.\., N, D\)"):
        icon(torch.rand(shape), torch.rand(shape))


def test_different_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"composed.*\(5, 3\), got \(1, 3\)"):
        icon(torch.rand(1, 3), torch.rand(5, 3))
