"""Compare global and local correlation with loops and closed forms, and test their invariances."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nephi.errors import UsageError
from nephi.losses import lncc, lncc_pooled, lncc_squared, ncc
from nephi.losses.ncc import LOCAL_EPSILON

gains = st.floats(0.2, 5.0)
offsets = st.floats(-2.0, 2.0)
seeds = st.integers(0, 1000)


def random_patches(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moments(f: list[float], m: list[float], w: list[float]) -> tuple[float, float, float]:
    """Return covariance and variances of two lists of weighted samples."""
    total = sum(w)
    mean_f = sum(wi * fi for wi, fi in zip(w, f, strict=True)) / total
    mean_m = sum(wi * mi for wi, mi in zip(w, m, strict=True)) / total
    covariance = variance_f = variance_m = 0.0
    for fi, mi, wi in zip(f, m, w, strict=True):
        covariance += wi / total * (fi - mean_f) * (mi - mean_m)
        variance_f += wi / total * (fi - mean_f) ** 2
        variance_m += wi / total * (mi - mean_m) ** 2
    return covariance, variance_f, variance_m


def test_ncc_agrees_with_loops() -> None:
    fixed, moving, weights = random_patches(0, 4, 3), random_patches(1, 4, 3), random_patches(2, 4)
    f, m = fixed.flatten().tolist(), moving.flatten().tolist()
    covariance, variance_f, variance_m = moments(f, m, [w for w in weights.tolist() for _ in range(3)])
    expected = 1 - covariance / math.sqrt(variance_f * variance_m + 1e-3)
    assert abs(ncc(fixed, moving, weights, epsilon=1e-3).item() - expected) < 1e-12


def test_ncc_is_pearsons_correlation() -> None:
    fixed, moving = random_patches(3, 50, 1), random_patches(4, 50, 1)
    pearson = np.corrcoef(fixed.flatten().numpy(), moving.flatten().numpy())[0, 1]
    assert abs(ncc(fixed, moving).item() - (1 - pearson)) < 1e-5


@pytest.mark.parametrize("power", [1, 2])
def test_lncc_agrees_with_loops(power) -> None:
    fixed, moving, weights = random_patches(5, 6, 7), random_patches(6, 6, 7), random_patches(7, 6)
    total = 0.0
    for f, m, w in zip(fixed.tolist(), moving.tolist(), weights.tolist(), strict=True):
        covariance, variance_f, variance_m = moments(f, m, [1.0] * 7)
        total += w * (covariance / math.sqrt(variance_f * variance_m + LOCAL_EPSILON)) ** power
    expected = 1 - total / sum(weights.tolist())
    loss = {1: lncc, 2: lncc_squared}[power]
    assert abs(loss(fixed, moving, weights).item() - expected) < 1e-12


@given(gains, offsets, seeds)
def test_ncc_is_invariant_to_gain_and_offset(gain, offset, seed) -> None:
    fixed, moving = random_patches(seed, 20, 2), random_patches(seed + 1, 20, 2)
    original, changed = (ncc(fixed, x, epsilon=1e-14) for x in (moving, gain * moving + offset))
    torch.testing.assert_close(original, changed, rtol=0, atol=1e-8)


@given(st.lists(gains, min_size=4, max_size=4), st.lists(offsets, min_size=4, max_size=4), seeds)
def test_lncc_is_invariant_to_gain_and_offset_of_each_patch(gain, offset, seed) -> None:
    fixed, moving = random_patches(seed, 4, 9), random_patches(seed + 1, 4, 9)
    a, b = (torch.tensor(x, dtype=torch.float64).unsqueeze(1) for x in (gain, offset))
    signs = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    tiny = 1e-14
    torch.testing.assert_close(
        lncc(fixed, moving, epsilon=tiny), lncc(fixed, a * moving + b, epsilon=tiny), rtol=0, atol=1e-7
    )
    torch.testing.assert_close(
        lncc_squared(fixed, moving, epsilon=tiny),
        lncc_squared(fixed, signs * a * moving + b, epsilon=tiny),
        rtol=0,
        atol=1e-7,
    )


def test_range_of_the_signed_losses() -> None:
    fixed = random_patches(8, 5, 9)
    tiny = 1e-14
    for loss in (ncc, lncc):
        assert abs(loss(fixed, 2 * fixed + 1, epsilon=tiny).item()) < 1e-8
        assert abs(loss(fixed, -fixed, epsilon=tiny).item() - 2) < 1e-8


def test_local_correlation_tolerates_an_inhomogeneous_gain() -> None:
    """Such a gain reduces the global correlation only."""
    fixed = random_patches(9, 5, 9)
    moving = fixed * torch.linspace(0.2, 5, 5, dtype=torch.float64).unsqueeze(1)
    assert lncc(fixed, moving) < 0.02 < 0.1 < ncc(fixed, moving)


def test_a_patch_with_the_variance_of_sqrt_epsilon_counts_half() -> None:
    deviation = LOCAL_EPSILON**0.25
    patch = 0.5 + deviation * torch.tensor([[1.0, -1.0, 1.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(lncc_squared(patch, patch), torch.tensor(0.5, dtype=torch.float64))
    torch.testing.assert_close(lncc(patch, patch), torch.tensor(1 - 0.5**0.5, dtype=torch.float64))


@pytest.mark.parametrize("loss", [ncc, lncc, lncc_squared])
def test_constant_images_do_not_correlate(loss) -> None:
    textured, flat = random_patches(10, 5, 9).float(), torch.full((5, 9), 0.1)
    for fixed, moving in ((textured, flat), (flat, textured), (flat, flat)):
        assert abs(loss(fixed, moving).item() - 1) < 1e-5


@pytest.mark.parametrize("loss", [ncc, lncc, lncc_squared])
def test_zero_weights_yield_one(loss) -> None:
    assert loss(torch.rand(3, 9), torch.rand(3, 9), torch.zeros(3)) == 1


def test_gradient_of_the_squared_form_agrees_with_the_textbook_form() -> None:
    """Although the patch means are constants to autograd."""
    fixed, moving = random_patches(11, 8, 27), random_patches(12, 8, 27).requires_grad_()
    f, m = fixed - fixed.mean(1, keepdim=True), moving - moving.mean(1, keepdim=True)
    ratio = (f * m).mean(1) ** 2 / ((f * f).mean(1) * (m * m).mean(1) + LOCAL_EPSILON)
    (expected,) = torch.autograd.grad(1 - ratio.mean(), moving)
    (gradient,) = torch.autograd.grad(lncc_squared(fixed, moving), moving)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("loss", [lncc, lncc_squared])
def test_local_correlation_needs_two_samples(loss) -> None:
    with pytest.raises(UsageError, match=r"K >= 2 samples, got \(8, 1\)"):
        loss(torch.rand(8, 1), torch.rand(8, 1))


def test_pooled_agrees_with_loops() -> None:
    fixed, moving, weights = random_patches(5, 6, 7), random_patches(6, 6, 7), random_patches(7, 6)
    sums = [0.0, 0.0, 0.0]
    for f, m, w in zip(fixed.tolist(), moving.tolist(), weights.tolist(), strict=True):
        parts = moments(f, m, [1.0] * 7)
        sums = [total + w / sum(weights.tolist()) * part for total, part in zip(sums, parts, strict=True)]
    expected = 1 - sums[0] / math.sqrt(sums[1] * sums[2] + 1e-3)
    assert abs(lncc_pooled(fixed, moving, weights, epsilon=1e-3).item() - expected) < 1e-12


@given(seeds, gains, st.lists(offsets, min_size=5, max_size=5))
def test_pooled_is_invariant_to_a_gain_and_local_offsets(seed: int, gain: float, shifts: list[float]) -> None:
    fixed, moving = random_patches(seed, 5, 9), random_patches(seed + 1, 5, 9)
    changed = gain * moving + torch.tensor(shifts, dtype=torch.float64)[:, None]
    torch.testing.assert_close(lncc_pooled(fixed, changed), lncc_pooled(fixed, moving), rtol=1e-5, atol=1e-5)


def test_the_gradient_of_pooled_is_exact() -> None:
    fixed, moving = random_patches(8, 4, 9), random_patches(9, 4, 9).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: lncc_pooled(fixed, m), moving)
