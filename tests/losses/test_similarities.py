"""Test properties that all similarity losses have."""

import math
import re

import pytest
import torch

from nephi.errors import UsageError
from nephi.losses import SIMILARITIES, lncc_squared, mse, ncc, similarity

# 25 samples are a 5 x 5 patch, which MIND needs.
P, K = 6, 25


def patches(seed: int, count: int = P) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two related sets of patches with intensities in [0, 1], float64."""
    generator = torch.Generator().manual_seed(seed)
    fixed = torch.rand(count, K, generator=generator, dtype=torch.float64)
    noise = torch.rand(count, K, generator=generator, dtype=torch.float64)
    return fixed, 0.6 * fixed + 0.4 * noise


every_similarity = pytest.mark.parametrize("loss", SIMILARITIES.values(), ids=SIMILARITIES.keys())


def test_names() -> None:
    assert list(SIMILARITIES) == ["mse", "ncc", "lncc", "lncc2", "pooled", "mind", "nmi"]
    fixed, moving = patches(0)
    assert similarity("lncc2")(fixed, moving) == lncc_squared(fixed, moving)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"mse, ncc, lncc, lncc2, pooled, mind, nmi .* got 'ssim'"):
        similarity("ssim")


def test_a_sum_is_the_weighted_sum_of_its_terms() -> None:
    fixed, moving = patches(3)
    total = similarity("lncc2 + 10 mse+ 0.5 ncc")(fixed, moving)
    torch.testing.assert_close(total, lncc_squared(fixed, moving) + 10 * mse(fixed, moving) + 0.5 * ncc(fixed, moving))


@pytest.mark.parametrize("formula", ["", "lncc2 +", "2 3 mse", "-1 mse", "nan mse", "x mse", "10", "inf ncc"])
def test_malformed_sums_are_refused(formula: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(formula))):
        similarity(formula)


@pytest.mark.parametrize("name", ["lncc", "lncc2"])
def test_a_patch_at_the_variance_floor_counts_half(name: str) -> None:
    fixed = torch.rand(1, 27, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fixed = 0.05 * (fixed - fixed.mean()) / fixed.std(correction=0)
    expected = {"lncc": 1 - math.sqrt(0.5), "lncc2": 0.5}[name]
    assert abs(similarity(name, 0.05)(fixed, fixed).item() - expected) < 1e-9
    assert similarity("mse", 0.05)(fixed, fixed).item() == 0


def test_the_table_of_losses_is_read_only() -> None:
    with pytest.raises(TypeError):
        SIMILARITIES["mse"] = lncc_squared  # type: ignore[index]


@every_similarity
def test_result_is_a_scalar_of_the_images_dtype(loss) -> None:
    fixed, moving = patches(0)
    single = loss(fixed.float(), moving.float())
    assert single.shape == () and single.dtype == torch.float32
    torch.testing.assert_close(single.double(), loss(fixed, moving), rtol=1e-4, atol=1e-5)


@every_similarity
def test_lower_for_better_alignment(loss) -> None:
    fixed, moving = patches(1)
    shuffled = moving[:, torch.randperm(K, generator=torch.Generator().manual_seed(0))]
    assert loss(fixed, fixed) < loss(fixed, moving) < loss(fixed, shuffled)


@every_similarity
def test_symmetric_in_both_images(loss) -> None:
    fixed, moving = patches(2)
    torch.testing.assert_close(loss(fixed, moving), loss(moving, fixed))


@every_similarity
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_in_both_images(loss, weighted) -> None:
    fixed, moving = (x.requires_grad_() for x in patches(3, count=3))
    weights = torch.tensor([0.5, 2.0, 0.0], dtype=torch.float64) if weighted else None
    assert torch.autograd.gradcheck(lambda f, m: loss(f, m, weights), (fixed, moving))


@every_similarity
def test_zero_weight_patch_has_no_effect(loss) -> None:
    fixed, moving = patches(4)
    moving.requires_grad_()
    weights = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    kept = weights > 0
    value = loss(fixed, moving, weights)
    torch.testing.assert_close(value, loss(fixed[kept], moving[kept]))
    (gradient,) = torch.autograd.grad(value, moving)
    assert (gradient[~kept] == 0).all() and (gradient[kept] != 0).any()


@every_similarity
def test_a_doubled_weight_equals_a_duplicated_patch(loss) -> None:
    fixed, moving = patches(5)
    weights = torch.tensor([1.0, 2.0, 1.0, 1.0, 2.0, 1.0], dtype=torch.float64)
    repeated = [0, 1, 1, 2, 3, 4, 4, 5]
    weighted = loss(fixed, moving, weights)
    torch.testing.assert_close(weighted, loss(fixed[repeated], moving[repeated]))
    assert (weighted - loss(fixed, moving)).abs() > 1e-5


@every_similarity
def test_only_the_ratio_of_weights_matters(loss) -> None:
    fixed, moving = patches(6)
    weights = torch.linspace(0.1, 1, P, dtype=torch.float64)
    torch.testing.assert_close(loss(fixed, moving, weights), loss(fixed, moving, 1e-3 * weights))
    torch.testing.assert_close(loss(fixed, moving, torch.ones(P)), loss(fixed, moving))


@every_similarity
def test_a_bool_mask_is_accepted_as_weights(loss) -> None:
    fixed, moving = patches(7)
    mask = torch.tensor([True, False, True, True, False, True])
    torch.testing.assert_close(loss(fixed, moving, mask), loss(fixed[mask], moving[mask]))


@every_similarity
def test_weights_have_no_gradient(loss) -> None:
    fixed, moving = patches(8)
    weights = torch.rand(P, dtype=torch.float64, requires_grad=True)
    assert not loss(fixed, moving, weights).requires_grad


@every_similarity
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_weights_yield_zero_gradients(loss, dtype) -> None:
    fixed, moving = (x.to(dtype).requires_grad_() for x in patches(9))
    value = loss(fixed, moving, torch.zeros(P, dtype=dtype))
    assert value.isfinite()
    for gradient in torch.autograd.grad(value, (fixed, moving)):
        assert (gradient == 0).all()


@every_similarity
@pytest.mark.parametrize("constant", ["fixed", "moving", "both"])
def test_constant_patches_have_bounded_gradients(loss, constant) -> None:
    fixed, moving = (x.float() for x in patches(10))
    fixed = torch.full_like(fixed, 0.3) if constant in ("fixed", "both") else fixed
    moving = torch.full_like(moving, 0.7) if constant in ("moving", "both") else moving
    moving.requires_grad_()
    value = loss(fixed, moving)
    (gradient,) = torch.autograd.grad(value, moving)
    assert value.isfinite()
    # A change of one sample by 0.001 changes the mean over P * K samples by less than 10 / (P * K).
    assert gradient.abs().max() * 1e-3 * P * K < 10


@every_similarity
def test_result_is_on_the_device_of_the_images(loss) -> None:
    fixed, moving = (x.to("meta") for x in patches(11))
    assert loss(fixed, moving, torch.ones(P, device="meta")).device.type == "meta"


@every_similarity
@pytest.mark.parametrize(
    ("fixed", "moving", "weights", "message"),
    [
        (torch.rand(25), torch.rand(25), None, r"fixed: expected shape \(P, K\).*got \(25,\)"),
        (torch.rand(0, 25), torch.rand(0, 25), None, r"fixed.*got \(0, 25\)"),
        (torch.rand(4, 25), torch.rand(5, 25), None, r"moving.*\(4, 25\), got \(5, 25\)"),
        (torch.rand(4, 25), torch.rand(4, 25), torch.ones(25), r"weights.*\(4,\).*got \(25,\)"),
        (torch.rand(4, 25), torch.rand(4, 25), torch.ones(4, 1), r"weights.*\(4,\).*got \(4, 1\)"),
        (torch.ones(4, 25).int(), torch.ones(4, 25).int(), None, "floating-point.*int32"),
        (torch.rand(4, 25), torch.rand(4, 25).double(), None, "one floating-point type.*float32.*float64"),
    ],
)
def test_wrong_shapes_are_refused(loss, fixed, moving, weights, message) -> None:
    with pytest.raises(UsageError, match=message):
        loss(fixed, moving, weights)


@every_similarity
def test_nan_gives_nan(loss) -> None:
    """A fit or training that diverges notices it by its loss."""
    fixed, moving = patches(3)
    moving[2] = torch.nan
    assert loss(fixed, moving).isnan() and loss(fixed.float(), moving.float()).isnan()
