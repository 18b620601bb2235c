"""Compare the kernel of inverse consistency and of the penalties of one Jacobian with its torch twins."""

import pytest
import torch

from nephi import kernels
from nephi.losses import (
    FOLDING_FLOOR,
    VARIATION_EPSILON,
    diffusion,
    folding,
    gradicon,
    icon,
    total_variation,
)

WEIGHTS = (0.7, 0.3, 20.0, 0.05, 0.2)
LIMITS = (FOLDING_FLOOR, VARIATION_EPSILON)


@pytest.mark.parametrize("dimension", [2, 3])
def test_terms_and_gradients_agree_with_the_twins(dimension: int) -> None:
    generator = torch.Generator().manual_seed(0)
    start = 10 * torch.randn(30, dimension, generator=generator)
    back = start + torch.randn(30, dimension, generator=generator)
    first, second = (
        torch.eye(dimension) + 0.5 * torch.randn(2, 30, dimension, dimension, generator=generator)
    ).unbind()
    penalties = kernels.round_trip(start, back, first, second, WEIGHTS, *LIMITS)
    inputs = [tensor.double().requires_grad_() for tensor in (back, first, second)]
    consistency = gradicon(inputs[2], inputs[1]), icon(inputs[0], start.double())
    terms = *consistency, folding(inputs[1]), diffusion(inputs[1]), total_variation(inputs[1])
    weighted = [weight * term for weight, term in zip(WEIGHTS, terms, strict=True)]
    assert penalties.terms == pytest.approx([term.item() for term in weighted], rel=1e-5)
    assert min(penalties.terms) > 0
    expected = torch.autograd.grad(torch.stack(weighted).sum(), inputs)
    for by_kernel, by_torch in zip(penalties[1:], expected, strict=True):
        torch.testing.assert_close(by_kernel.double(), by_torch, rtol=1e-4, atol=1e-5 * float(by_torch.abs().max()))


def test_a_map_and_its_exact_inverse_have_no_penalty() -> None:
    matrix = torch.tensor([[2.0, 0.5], [0.0, 1.0]])
    start = torch.rand(5, 2)
    first, second = (m.expand(5, 2, 2).contiguous() for m in (matrix, torch.linalg.inv(matrix)))
    penalties = kernels.round_trip(start, start.clone(), first, second, (1.0, 1.0, 1.0, 0.0, 0.0), *LIMITS)
    assert penalties.terms == pytest.approx([0, 0, 0, 0, 0], abs=1e-12)
