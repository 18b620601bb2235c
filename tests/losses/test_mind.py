"""Compare MIND-SSC with an implementation over coordinates, and test its invariances."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nephi.errors import UsageError
from nephi.losses import mind_ssc
from nephi.losses.mind import LEAST_VARIANCE, _pair_samples

both_dimensions = pytest.mark.parametrize("dimension", [2, 3])


def random_patches(seed: int, count: int, dimension: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 5**dimension, generator=generator, dtype=torch.float64)


def descriptor(patch: list[float], dimension: int) -> list[float]:
    """Return the MIND-SSC descriptor of one patch, whose samples are addressed by their offset from the centre."""
    cube = [tuple(offset) for offset in torch.cartesian_prod(*[torch.arange(-2, 3)] * dimension).tolist()]
    value = dict(zip(cube, patch, strict=True))
    neighbours = [offset for offset in cube if sum(c * c for c in offset) == 1]
    window = [offset for offset in cube if max(abs(c) for c in offset) <= 1]
    distances = []
    for one, other in itertools.combinations(neighbours, 2):
        if abs(math.dist(one, other) - math.sqrt(2)) > 1e-6:
            continue
        total = 0.0
        for shift in window:
            first = tuple(a + s for a, s in zip(one, shift, strict=True))
            second = tuple(b + s for b, s in zip(other, shift, strict=True))
            total += (value[first] - value[second]) ** 2
        distances.append(total / len(window))
    assert len(distances) == {2: 4, 3: 12}[dimension]
    variance = max(sum(distances) / len(distances), LEAST_VARIANCE)
    return [math.exp(-d / variance) for d in distances]


@both_dimensions
@pytest.mark.parametrize("contrast", [1.0, 0.003])  # the second is below the least variance
def test_agrees_with_an_implementation_over_coordinates(dimension, contrast) -> None:
    fixed, moving = random_patches(0, 3, dimension), contrast * random_patches(1, 3, dimension)
    weights = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    total = 0.0
    for f, m, w in zip(fixed.tolist(), moving.tolist(), weights.tolist(), strict=True):
        pairs = zip(descriptor(f, dimension), descriptor(m, dimension), strict=True)
        squares = [(a - b) ** 2 for a, b in pairs]
        total += w * sum(squares) / len(squares)
    assert abs(mind_ssc(fixed, moving, weights).item() - total / 3.5) < 1e-12


@both_dimensions
@given(gain=st.floats(0.3, 3.0), sign=st.sampled_from([-1, 1]), offset=st.floats(-1.0, 1.0), seed=st.integers(0, 99))
def test_invariant_to_inversion_gain_and_offset(dimension, gain, sign, offset, seed) -> None:
    fixed = random_patches(seed, 4, dimension)
    assert mind_ssc(fixed, sign * gain * fixed + offset) < 1e-20


@both_dimensions
def test_different_structures_have_a_loss(dimension) -> None:
    fixed = random_patches(2, 4, dimension)
    assert mind_ssc(fixed, fixed.flip(0)) > 1e-3


@both_dimensions
def test_flat_patches_ignore_faint_noise(dimension) -> None:
    """Below the least variance the descriptor tends to that of a flat patch, all ones."""
    flat = torch.full((4, 5**dimension), 0.5, dtype=torch.float64)
    assert mind_ssc(flat, flat) == 0
    assert mind_ssc(flat, flat + 1e-4 * random_patches(3, 4, dimension)) < 1e-6
    assert mind_ssc(flat, flat + 1e-1 * random_patches(3, 4, dimension)) > 1e-1


def test_zero_weights_yield_zero() -> None:
    fixed, moving = random_patches(4, 3, 2), random_patches(5, 3, 2)
    assert mind_ssc(fixed, moving, torch.zeros(3)) == 0


def test_gradients_after_a_first_call_in_inference_mode() -> None:
    """Tensors cached by a call must not be inference tensors, which autograd cannot save."""
    _pair_samples.cache_clear()
    fixed, moving = random_patches(6, 3, 2), random_patches(7, 3, 2)
    with torch.inference_mode():
        expected = mind_ssc(fixed, moving).item()
    value = mind_ssc(fixed, moving.requires_grad_())
    value.backward()
    assert value.item() == expected and moving.grad is not None


@pytest.mark.parametrize("samples", [1, 9, 27, 100, 625])
def test_other_patch_sizes_are_refused(samples) -> None:
    with pytest.raises(UsageError, match=rf"25 \(2-D\) or 125 \(3-D\).*got {samples}"):
        mind_ssc(torch.rand(2, samples), torch.rand(2, samples))
