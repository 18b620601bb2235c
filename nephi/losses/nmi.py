"""Normalised mutual information, for images of different modalities."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.losses.shapes import check_patches
from nephi.losses.weighting import normalized_weights

# Below any probability that a histogram of fewer than 10^12 samples resolves. Bounds log p and 1 / entropy.
_SMALLEST = 1e-12


def nmi(fixed: Tensor, moving: Tensor, weights: Tensor | None = None, *, bins: int = 32) -> Tensor:
    """Return the normalised mutual information loss, `2 - NMI` with `NMI = (H(f) + H(m)) / H(f, m)`.

    NMI after Studholme et al. (Pattern Recognition 1999). The entropies H are those of a joint histogram of
    bins x bins, smoothed by cubic B-spline Parzen windows (Mattes et al., IEEE TMI 2003), here in both
    images: that makes the loss symmetric, and differentiable in both. The marginals are sums of the joint
    histogram.

    `fixed` and `moving` are `(P, K)`: P patches of K samples at matching points (K = 1 for plain points),
    normalised to [0, 1]; samples beyond are clamped and have no gradient. `weights` is `(P,)`, non-negative
    and constant to autograd, or None for equal weights. Of `bins`, at least 4, the first and last only hold
    the windows' tails.

    The result is a scalar in [0, 1]: 1 for independent images (also if one is flat or all weights are zero).
    The windows blur the joint histogram, so that even an image with itself stays above 0: at about 0.5 for
    evenly spread intensities in 32 bins. Raises `UsageError` when shapes do not match or there are fewer than
    4 bins.
    """
    check_patches(fixed, moving, weights)
    if bins < 4:
        raise UsageError(f"bins: expected at least 4, the width of a cubic B-spline, got {bins}")
    per_sample = normalized_weights(weights, fixed).div(fixed.shape[1]).repeat_interleave(fixed.shape[1])
    joint = (_windows(fixed.flatten(), bins) * per_sample.unsqueeze(1)).T @ _windows(moving.flatten(), bins)
    joint_entropy = _entropy(joint)
    mutual_information = _entropy(joint.sum(1)) + _entropy(joint.sum(0)) - joint_entropy
    # 2 - NMI = 1 - MI / H(f, m); written so, an empty histogram (all weights zero) reads as independence.
    return 1 - mutual_information / joint_entropy.clamp_min(_SMALLEST)


def _windows(samples: Tensor, bins: int) -> Tensor:
    """Return cubic B-spline weights, `(S, bins)`, of samples `(S,)` clamped to [0, 1]; each row sums to one.

    The samples are spread over bins 1 to bins - 2, so that no window reaches past the first or last bin. Only
    the four bins around a sample are computed, then scattered: a quarter of the time of evaluating all of
    them.
    """
    positions = samples.clamp(0, 1) * (bins - 3)
    first = positions.detach().floor().clamp_max(bins - 4).nan_to_num(0.0)  # any bin: the weights of NaN are NaN
    t = positions - first
    s = 1 - t
    t_squared, s_squared = t * t, s * s
    inner = 4 - 3 * t_squared * (2 - t), 4 - 3 * s_squared * (2 - s)
    weights = torch.stack((s_squared * s, *inner, t_squared * t), dim=1) / 6
    indices = first.long().unsqueeze(1) + torch.arange(4, device=samples.device)
    return weights.new_zeros(len(samples), bins).scatter(1, indices, weights)


def _entropy(probabilities: Tensor) -> Tensor:
    """Return the Shannon entropy, `-sum p log p`; an empty bin adds nothing and has a finite gradient."""
    return -(probabilities * probabilities.clamp_min(_SMALLEST).log()).sum()
