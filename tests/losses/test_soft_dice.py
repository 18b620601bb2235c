import pytest
import torch

from nephi.errors import UsageError
from nephi.losses import soft_dice


def test_agrees_with_loops() -> None:
    fixed, moving = torch.rand(2, 7, 3, dtype=torch.float64)
    values = []
    for f, m in zip(fixed.T.tolist(), moving.T.tolist(), strict=True):
        overlap = sum(a * b for a, b in zip(f, m, strict=True))
        values.append(1 - (2 * overlap + 1) / (sum(a * a for a in f) + sum(b * b for b in m) + 1))
    assert soft_dice(fixed, moving).item() == pytest.approx(sum(values) / 3, abs=1e-12)


def test_equal_and_separate_labels() -> None:
    fixed = torch.zeros(100, 2, dtype=torch.float64)
    fixed[:50, 0] = fixed[50:, 1] = 1
    assert soft_dice(fixed, fixed) == 0
    assert soft_dice(fixed, fixed.flip(1)).item() == pytest.approx(1 - 1 / 101)
    assert soft_dice(fixed[:, :0], fixed[:, :0]) == 0  # pairs without labels


def test_gradients_agree_with_differences() -> None:
    fixed, moving = torch.rand(2, 6, 3, dtype=torch.float64).requires_grad_().unbind()
    assert torch.autograd.gradcheck(soft_dice, (fixed, moving))


@pytest.mark.parametrize("shape", [(4, 2), (5,), (5, 3)])
def test_other_shapes_are_refused(shape) -> None:
    with pytest.raises(UsageError, match=r"fixed, moving: expected one shape \(P, L\)"):
        soft_dice(torch.rand(shape), torch.rand(5, 2))
