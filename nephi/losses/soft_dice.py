"""Soft Dice: the overlap of labels with memberships between 0 and 1."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.errors import UsageError

EPSILON = 1.0  # added to both sides of the fraction; in points


def soft_dice(fixed: Tensor, moving: Tensor) -> Tensor:
    """Return `1 - mean_l (2 sum_p f m + 1) / (sum_p f^2 + sum_p m^2 + 1)` over L labels; 0 without labels.

    `fixed` and `moving` `(P, L)` are the memberships, from 0 to 1, of P matching points in each label. The squares in
    the denominator are those of V-Net (Milletari et al., 3DV 2016), used by KeyMorph (Wang et al., Medical Image
    Analysis 2023). The result is a scalar from 0, for equal memberships of 0 or 1, to almost 1. Raises `UsageError`
    when shapes differ.
    """
    if fixed.ndim != 2 or fixed.shape != moving.shape:
        raise UsageError(
            f"fixed, moving: expected one shape (P, L), got {tuple(fixed.shape)} and {tuple(moving.shape)}"
        )
    overlap = 2 * (fixed * moving).sum(dim=0) + EPSILON
    total = fixed.square().sum(dim=0) + moving.square().sum(dim=0) + EPSILON
    return torch.sum(1 - overlap / total) / max(1, fixed.shape[1])
