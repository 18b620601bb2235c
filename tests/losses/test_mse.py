import torch

from nephi.losses import mse


def test_agrees_with_loops() -> None:
    fixed, moving = torch.rand(5, 3, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64)
    weights = torch.rand(5, dtype=torch.float64)
    total = total_weight = 0.0
    for f_patch, m_patch, weight in zip(fixed.tolist(), moving.tolist(), weights.tolist(), strict=True):
        total += weight * sum((f - m) ** 2 for f, m in zip(f_patch, m_patch, strict=True)) / 3
        total_weight += weight
    assert abs(mse(fixed, moving, weights).item() - total / total_weight) < 1e-12


def test_constant_offset() -> None:
    fixed = torch.rand(7, 4, dtype=torch.float64)
    torch.testing.assert_close(mse(fixed, fixed - 0.3), torch.tensor(0.09, dtype=torch.float64))
    assert mse(fixed, fixed) == 0


def test_zero_weights_yield_zero() -> None:
    assert mse(torch.rand(3, 2), torch.rand(3, 2), torch.zeros(3)) == 0
