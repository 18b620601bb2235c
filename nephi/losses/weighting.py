"""Weighted means over patches.

The weights are constants: they have no gradient. A soft mask interpolated at phi(x) depends on phi, and a field could
lower its loss by moving a patch that does not match out of the image.
"""

from __future__ import annotations

import torch
from torch import Tensor


def normalized_weights(weights: Tensor | None, patches: Tensor) -> Tensor:
    """Return the weights of the patches in a mean, `w_p / sum_q w_q`, or `1 / P` without weights.

    `weights` is `(P,)` and non-negative, or None; `patches`, `(P, ...)`, give the dtype and device. The
    result, `(P,)`, sums to one. If all weights are zero so is the result, and nothing divides by zero.
    """
    if weights is None:
        return patches.new_full((len(patches),), 1.0 / len(patches))
    constant = weights.detach().to(patches.dtype)
    # `tiny` replaces the total only when every weight is zero: 0 / tiny = 0.
    return constant / constant.sum().clamp_min(torch.finfo(patches.dtype).tiny)


def weighted_mean(per_patch: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean over patches, `sum_p w_p v_p / sum_p w_p`, of `per_patch`, `(P,)`.

    `weights` is `(P,)` and non-negative, or None for the plain mean. Values have to be finite also where the
    weight is zero. If all weights are zero, so are the result and its gradients.
    """
    if weights is None:
        return per_patch.mean()
    return torch.dot(per_patch, normalized_weights(weights, per_patch))
