"""Compare NMI with a histogram filled sample by sample, and with known values."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nephi.errors import UsageError
from nephi.losses import nmi


def spline(t: float) -> float:
    """Return the cubic B-spline, defined piecewise."""
    t = abs(t)
    if t < 1:
        return 2 / 3 - t**2 + t**3 / 2
    return (2 - t) ** 3 / 6 if t < 2 else 0.0


def entropy(probabilities: list[float]) -> float:
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def levels(count: int, bins: int = 32) -> torch.Tensor:
    """Return intensities at the centres of every fourth bin, whose windows do not overlap."""
    return torch.arange(count, dtype=torch.float64) * 4 / (bins - 3)


@pytest.mark.parametrize("bins", [4, 5, 9])
def test_agrees_with_loops(bins) -> None:
    generator = torch.Generator().manual_seed(bins)
    # The samples exceed [0, 1] on both sides and include both ends.
    fixed = 1.4 * torch.rand(10, 2, generator=generator, dtype=torch.float64) - 0.2
    fixed[0] = torch.tensor([0.0, 1.0])
    moving = (fixed + 0.2 * torch.rand(10, 2, generator=generator, dtype=torch.float64)).flip(1)
    weights = torch.rand(10, generator=generator, dtype=torch.float64)
    joint = [[0.0] * bins for _ in range(bins)]
    for f_patch, m_patch, w in zip(fixed.tolist(), moving.tolist(), weights.tolist(), strict=True):
        for f, m in zip(f_patch, m_patch, strict=True):
            bin_f, bin_m = (min(max(x, 0.0), 1.0) * (bins - 3) + 1 for x in (f, m))
            for i in range(bins):
                for j in range(bins):
                    joint[i][j] += w / (2 * weights.sum().item()) * spline(bin_f - i) * spline(bin_m - j)
    h_f = entropy([sum(row) for row in joint])
    h_m = entropy([sum(column) for column in zip(*joint, strict=True)])
    h = entropy([p for row in joint for p in row])
    # Not exactly equal: the loss bounds the logarithm of bins below 1e-12.
    assert abs(nmi(fixed, moving, weights, bins=bins).item() - (2 - (h_f + h_m) / h)) < 1e-9


def test_known_value_of_an_image_with_itself() -> None:
    """With separate levels every entropy is that of the levels plus that of one window."""
    image = levels(8).reshape(8, 1)
    window = entropy([1 / 6, 2 / 3, 1 / 6])
    expected = 2 - 2 * (math.log(8) + window) / (math.log(8) + 2 * window)
    assert abs(nmi(image, image).item() - expected) < 1e-9


@given(st.permutations(range(8)))
def test_invariant_to_a_permutation_of_intensities(order) -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(8, (40,), generator=generator)
    other = (codes + torch.randint(2, (40,), generator=generator)) % 8
    fixed, moving = levels(8)[codes].unsqueeze(1), levels(8)[other].unsqueeze(1)
    permuted = levels(8)[list(order)][other].unsqueeze(1)
    torch.testing.assert_close(nmi(fixed, permuted), nmi(fixed, moving), rtol=0, atol=1e-10)


@given(st.integers(0, 1000), st.integers(4, 40))
def test_invariant_to_inversion(seed, bins) -> None:
    fixed, noise = torch.rand(2, 50, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    moving = (fixed + noise) / 2
    torch.testing.assert_close(nmi(fixed, 1 - moving, bins=bins), nmi(fixed, moving, bins=bins))


def test_one_for_independent_images() -> None:
    """Every level of one image occurs equally often with every level of the other."""
    pairs = torch.cartesian_prod(levels(8), levels(6))
    assert abs(nmi(pairs[:, :1], pairs[:, 1:]).item() - 1) < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_for_a_constant_image_and_for_zero_weights(dtype) -> None:
    image = torch.rand(50, 2, dtype=dtype)
    assert abs(nmi(image, torch.full_like(image, 0.37)).item() - 1) < 1e-5
    assert nmi(image, image, torch.zeros(50)) == 1


def test_a_nonlinear_relation_lowers_the_loss() -> None:
    fixed = torch.linspace(0, 1, 2000, dtype=torch.float64).unsqueeze(1)
    folded = (2 * fixed - 1).square()
    shuffled = folded[torch.randperm(2000, generator=torch.Generator().manual_seed(0))]
    assert nmi(fixed, folded) < 0.7 < 0.9 < nmi(fixed, shuffled)


def test_samples_out_of_range_have_no_gradient() -> None:
    fixed = torch.rand(6, 1, dtype=torch.float64)
    moving = torch.tensor([[-0.5], [1.5], [0.2], [0.4], [0.6], [0.8]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(nmi(fixed, moving), moving)
    assert (gradient[:2] == 0).all() and (gradient[2:] != 0).all()


def test_too_few_bins_are_refused() -> None:
    with pytest.raises(UsageError, match=r"at least 4.*got 3"):
        nmi(torch.rand(5, 1), torch.rand(5, 1), bins=3)
