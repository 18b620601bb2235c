"""Mean squared difference, for images of one modality with the same intensity scale."""

from __future__ import annotations

from torch import Tensor

from nephi.losses.shapes import check_patches
from nephi.losses.weighting import weighted_mean


def mse(fixed: Tensor, moving: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean squared difference, `sum_p w_p mean_k (m_pk - f_pk)^2 / sum_p w_p`.

    `fixed` and `moving` are `(P, K)`: P patches of K samples at matching points (K = 1 for plain points).
    `weights` is `(P,)`, non-negative and constant to autograd, or None for equal weights.

    The result is a scalar in squared intensity units; 0 at best, and if all weights are zero. Raises
    `UsageError` when shapes do not match.
    """
    check_patches(fixed, moving, weights)
    return weighted_mean((moving - fixed).square().mean(1), weights)
