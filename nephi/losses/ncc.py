"""Normalised cross-correlation: global, and local (within each patch) with and without its sign.

All three divide by standard deviations, which vanish in flat regions. The epsilons below are added to the
*product of the two variances* (population variances, squared intensity units to the second power) and assume
images normalised to about [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.losses.shapes import check_patches
from nephi.losses.weighting import normalized_weights, weighted_mean

# A patch with a standard deviation of 0.056 in both images counts half. The weight of patches with less contrast,
# mostly noise, falls smoothly to 0.
LOCAL_EPSILON = 1e-5

# Keeps the loss of a constant image finite.
GLOBAL_EPSILON = 1e-8


def ncc(fixed: Tensor, moving: Tensor, weights: Tensor | None = None, *, epsilon: float = GLOBAL_EPSILON) -> Tensor:
    """Return the global correlation loss, `1 - cov(f, m) / sqrt(var(f) var(m) + epsilon)` over all samples.

    Mean, variance and covariance give each of the P * K samples the weight of its patch. Up to epsilon this
    is one minus Pearson's correlation, invariant to `a * m + b` with a > 0.

    `fixed` and `moving` are `(P, K)`: P patches of K samples at matching points (K = 1 for plain points).
    `weights` is `(P,)`, non-negative and constant to autograd, or None for equal weights. `epsilon` is
    positive.

    The result is a scalar in [0, 2]: 0 for a perfect increasing linear relation, 1 for none (also if an image
    is flat or all weights are zero), 2 for a decreasing one. Raises `UsageError` when shapes do not match.
    """
    check_patches(fixed, moving, weights)
    per_sample = normalized_weights(weights, fixed).unsqueeze(1) / fixed.shape[1]
    f = fixed - (per_sample * fixed).sum()
    m = moving - (per_sample * moving).sum()
    weighted_f, weighted_m = per_sample * f, per_sample * m
    variances = (weighted_f * f).sum() * (weighted_m * m).sum()
    return 1 - (weighted_f * m).sum() * torch.rsqrt(variances + epsilon)


def lncc(fixed: Tensor, moving: Tensor, weights: Tensor | None = None, *, epsilon: float = LOCAL_EPSILON) -> Tensor:
    """Return the signed local correlation loss, `1 - mean_p cov_p / sqrt(var_p(f) var_p(m) + epsilon)`.

    `fixed` and `moving` are `(P, K)`: P patches of K >= 2 samples at matching points. `weights` is `(P,)`,
    non-negative and constant to autograd, or None for equal weights. `epsilon` is positive.

    The result is a scalar in [0, 2]. The correlation of flat patches is 0, as is that of all patches if all
    weights are zero; equal patches have a loss above 0 because of epsilon. Raises `UsageError` when shapes do
    not match or K < 2.
    """
    check_patches(fixed, moving, weights, least_samples=2)
    covariance, denominator = _patch_moments(fixed, moving, epsilon)
    return 1 - weighted_mean(covariance * torch.rsqrt(denominator), weights)


def lncc_squared(
    fixed: Tensor, moving: Tensor, weights: Tensor | None = None, *, epsilon: float = LOCAL_EPSILON
) -> Tensor:
    """Return the squared local correlation loss, `1 - mean_p cov_p^2 / (var_p(f) var_p(m) + epsilon)`.

    The squared form (Avants et al., Medical Image Analysis 2008) accepts contrast that is locally inverted,
    and its gradient vanishes where the correlation does, so that patches without information have none.

    `fixed` and `moving` are `(P, K)`: P patches of K >= 2 samples at matching points. `weights` is `(P,)`,
    non-negative and constant to autograd, or None for equal weights. `epsilon` is positive.

    The result is a scalar in [0, 1]. The correlation of flat patches is 0, as is that of all patches if all
    weights are zero; equal patches have a loss above 0 because of epsilon. Raises `UsageError` when shapes do
    not match or K < 2.
    """
    check_patches(fixed, moving, weights, least_samples=2)
    covariance, denominator = _patch_moments(fixed, moving, epsilon)
    return 1 - weighted_mean(covariance.square() / denominator, weights)


def lncc_pooled(
    fixed: Tensor, moving: Tensor, weights: Tensor | None = None, *, epsilon: float = GLOBAL_EPSILON
) -> Tensor:
    """Return `1 - sum_p cov_p / sqrt(sum_p var_p(f) sum_p var_p(m) + epsilon)`: one correlation of centred patches.

    Between `ncc`, which ignores one offset and one scale for the whole image, and `lncc`, which ignores both for each
    patch: offsets are local, the scale is common. Patches are weighted by their variance, so that noise, which has the
    same variance in all patches, has little weight: on noisy phantoms in 2-D the error of a fit is two thirds of that
    with `lncc`.

    `fixed` and `moving` are `(P, K)`: P patches of K >= 2 samples at matching points. `weights` is `(P,)`,
    non-negative and constant to autograd, or None for equal weights. `epsilon` is positive.

    The result is a scalar in [0, 2]: 1 if an image is flat or all weights are zero. Raises `UsageError` when shapes do
    not match or K < 2.
    """
    check_patches(fixed, moving, weights, least_samples=2)
    f, m = _centred(fixed), _centred(moving)
    per_sample = normalized_weights(weights, fixed) / fixed.shape[1]
    covariance = torch.dot(per_sample, torch.linalg.vecdot(f, m))
    variances = torch.dot(per_sample, torch.linalg.vecdot(f, f)) * torch.dot(per_sample, torch.linalg.vecdot(m, m))
    return 1 - covariance * torch.rsqrt(variances + epsilon)


def _patch_moments(fixed: Tensor, moving: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return `K cov` and `K^2 (var(f) var(m) + epsilon)` of each patch, both `(P,)`."""
    f, m = _centred(fixed), _centred(moving)
    variances = torch.linalg.vecdot(f, f) * torch.linalg.vecdot(m, m)
    return torch.linalg.vecdot(f, m), variances + epsilon * fixed.shape[1] ** 2


def _centred(patches: Tensor) -> Tensor:
    """Subtract its mean from each patch; the means are constants to autograd.

    Covariance and variances do not change to first order when a mean does (the centred samples sum to zero), so all
    gradients stay exact and the subtraction needs no backward pass: at these sizes the time goes into starting
    operations. Second derivatives would be wrong; the losses need none.
    """
    return patches - patches.detach().mean(1, keepdim=True)
