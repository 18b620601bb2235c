"""Steps of Adam, compared with torch's."""

import pytest
import torch
from torch import Tensor

from nephi.optimize.adam import Adam


def parameters(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = [(4, 3), (5,), (2, 2, 2)]
    return [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def loss_of(values: list[Tensor], step: int) -> Tensor:
    """Different at each step, with gradients of many orders of magnitude, sometimes none for one parameter."""
    a, b, c = values
    loss = (a.sin() * 10.0 ** (step % 5 - 3)).sum() + (b**4).sum()
    return loss + (c * 1e-6).cos().sum() if step % 2 else loss


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])  # torch; the kernel
def test_steps_agree_with_torch(dtype: torch.dtype, tolerance: float) -> None:
    ours, theirs = parameters(dtype), parameters(dtype)
    adam, reference = Adam(ours, rate=0.05), torch.optim.Adam(theirs, lr=0.05)
    for value in theirs:
        value.grad = torch.zeros_like(value)  # torch does not count steps without a gradient
    for step in range(40):
        rate = 0.05 * (1 - step / 50)
        adam.rate = reference.param_groups[0]["lr"] = rate
        adam.minimise(loss_of(ours, step))
        reference.zero_grad(set_to_none=False)
        loss_of(theirs, step).backward()
        reference.step()
        for value, expected in zip(ours, theirs, strict=True):
            torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)


def test_parameters_stay_the_same_objects() -> None:
    values = parameters()
    before = [v.detach().clone() for v in values]
    adam = Adam(values, rate=0.1)
    for value, old in zip(values, before, strict=True):
        assert torch.equal(value, old)
    adam.minimise(loss_of(values, 1))
    assert not any(torch.equal(value, old) for value, old in zip(values, before, strict=True))
    assert all(v.is_leaf and v.requires_grad for v in values)


def test_constants_are_unchanged() -> None:
    value, constant = torch.ones(3, requires_grad=True), torch.ones(3)
    Adam([value, constant], rate=0.1).minimise((value * constant).sum())
    assert torch.equal(constant, torch.ones(3))
    assert constant.grad is None
    torch.testing.assert_close(value.detach(), torch.full((3,), 0.9))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_first_step_has_the_size_of_the_rate(scale: float) -> None:
    value = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    Adam([value], rate=0.01).minimise((scale * value).sum())
    torch.testing.assert_close(value.detach(), torch.full((4,), -0.01, dtype=torch.float64), rtol=1e-3, atol=0)
