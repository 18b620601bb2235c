"""One image in the contrast of the other."""

import pytest
import torch
from torch import Tensor

from nephi.losses import matched_contrast, mse


def samples(count: int = 400) -> Tensor:
    return torch.rand(count, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def rising_and_falling(values: Tensor) -> Tensor:
    return 0.5 + 0.4 * torch.cos(7 * values)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_contrast_that_rises_and_falls_is_predicted(swapped: bool) -> None:
    plain = samples()
    pair = (rising_and_falling(plain), plain) if swapped else (plain, rising_and_falling(plain))
    before, after = mse(*pair), mse(*matched_contrast(*pair))
    assert before > 0.05 and after < 1e-4


def test_equal_contrast_stays() -> None:
    values = samples()
    fixed, moving = matched_contrast(values, values)
    torch.testing.assert_close(fixed, moving, rtol=0, atol=0.02)


def test_patches_of_no_weight_have_no_say() -> None:
    fixed = samples()
    moving = rising_and_falling(fixed)
    weights = (torch.arange(len(fixed)) % 2).double()
    spoilt = torch.where(weights[:, None] > 0, moving, 1 - fixed)
    torch.testing.assert_close(
        matched_contrast(fixed, spoilt, weights)[0][1::2], matched_contrast(fixed[1::2], moving[1::2])[0]
    )


def test_the_gradient_takes_the_curve_as_given() -> None:
    moving = samples(40).requires_grad_()
    fixed = rising_and_falling(moving.detach())  # told from moving intensities, not the other way
    kept, changed = matched_contrast(fixed, moving)
    assert kept is fixed
    (slope,) = torch.autograd.grad(changed.sum(), moving)
    expected = -2.8 * torch.sin(7 * moving.detach())
    assert float((slope - expected).abs().mean()) < 0.3


def test_images_without_contrast_are_left_finite() -> None:
    for fixed, moving in ((torch.zeros(5, 9), torch.rand(5, 9)), (torch.zeros(5, 9), torch.zeros(5, 9))):
        assert all(bool(torch.isfinite(part).all()) for part in matched_contrast(fixed, moving))
