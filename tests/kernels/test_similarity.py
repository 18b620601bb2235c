"""Compare the similarity kernel with its torch twins in double precision."""

import pytest
import torch
from torch import Tensor

from nephi import kernels
from nephi.losses import similarity, similarity_factors

SUM = "lncc2 + 10 mse + 0.5 ncc + 2 pooled + lncc"
every_measure = pytest.mark.parametrize("formula", [*kernels.MEASURES, SUM])


def patches(count: int = 40, samples: int = 27) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    fixed = torch.rand(count, samples, generator=generator) * torch.rand(count, 1, generator=generator)
    return fixed, 0.2 + 0.5 * fixed + 0.3 * torch.rand(count, samples, generator=generator)


def gradients(formula: str, fixed: Tensor, moving: Tensor, weights: Tensor | None) -> tuple[Tensor, ...]:
    """Return the loss and its gradients with respect to both images."""
    pair = [image.detach().requires_grad_() for image in (fixed, moving)]
    loss = similarity(formula, 0.03)(*pair, weights)
    return loss.detach(), *torch.autograd.grad(3 * loss, pair)


@every_measure
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradients_agree_with_the_twin(formula: str, weighted: bool) -> None:
    fixed, moving = patches()
    fixed[3] = 0.5  # a constant patch
    weights = torch.rand(len(fixed), generator=torch.Generator().manual_seed(1)).round() if weighted else None
    assert kernels.can_compare(fixed, moving, weights)
    by_kernel = gradients(formula, fixed, moving, weights)
    expected = gradients(formula, fixed.double(), moving.double(), None if weights is None else weights.double())
    for a, b in zip(by_kernel, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


@every_measure
def test_zero_weights_yield_no_gradient(formula: str) -> None:
    fixed, moving = patches()
    loss, *slopes = gradients(formula, fixed, moving, torch.zeros(len(fixed)))
    expected = sum(weight for name, weight in similarity_factors(formula).items() if name != "mse")
    assert loss == pytest.approx(expected) and all(bool((g == 0).all()) for g in slopes)


def test_the_difference_of_similar_images_does_not_cancel() -> None:
    fixed = 20_000 * patches()[0]
    loss = similarity("mse")(fixed, fixed + 0.5)
    assert loss.item() == pytest.approx(0.25, rel=0.01)


def test_nan_is_propagated() -> None:
    fixed, moving = patches()
    moving[2, 2] = torch.nan
    assert torch.isnan(similarity(SUM)(fixed, moving))


def test_other_precisions_are_left_to_torch() -> None:
    fixed, moving = patches()
    assert not kernels.can_compare(fixed.double(), moving.double(), None)
    assert not kernels.can_compare(fixed, moving, torch.ones(len(fixed)).double())


def test_long_sums_are_left_to_torch() -> None:
    image = torch.rand(1, 1_000_000, generator=torch.Generator().manual_seed(0))
    assert not kernels.can_compare(image, image, None)
    assert similarity("mse")(image, image + 1e-3).item() == pytest.approx(1e-6, rel=1e-3)
