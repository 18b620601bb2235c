"""Carrying the contrast of one image over to another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.losses.shapes import check_patches
from nephi.losses.weighting import patch_shares

NODES = 32  # of a curve between 0 and 1
LEAST_SHARE = 1e-4  # of the samples: a node with fewer says nothing and takes the mean


def matched_contrast(fixed: Tensor, moving: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return both images, one of them in the other's contrast, so that a measure for one contrast can compare them.

    The curve that predicts moving from fixed intensities (their conditional mean, the regression behind the
    correlation ratio of Roche et al., MICCAI 1998) is found from the samples themselves, as is the one from moving to
    fixed intensities; the one that explains more of the variance is applied. A contrast that rises and falls can be
    predicted but not inverted, which is why both are tried. The curves are constants to autograd, what they are applied
    to is not.

    `fixed` and `moving` are `(P, K)` patches at matching points, normalised to [0, 1] (clamped); `weights` is `(P,)` or
    None. Raises `UsageError` when shapes do not match.
    """
    check_patches(fixed, moving, weights)
    share = patch_shares(weights, fixed).div(fixed.shape[1]).unsqueeze(1).expand_as(fixed)
    forward, backward = _fitted(fixed, moving, share), _fitted(moving, fixed, share)
    if forward.explained >= backward.explained:
        return forward(fixed), moving
    return fixed, backward(moving)


@dataclass(frozen=True)
class _Curve:
    """A piecewise linear function on [0, 1], and the share of the variance it explains."""

    heights: Tensor
    explained: float = 0.0

    def __call__(self, values: Tensor) -> Tensor:
        low, part = _places(values)
        ends = self.heights[torch.stack([low, low + 1])]
        return torch.lerp(ends[0], ends[1], part)


@torch.no_grad()
def _fitted(source: Tensor, target: Tensor, share: Tensor) -> _Curve:
    low, part = _places(source)
    places = torch.cat([low.flatten(), low.flatten() + 1])
    masses = torch.cat([((1 - part) * share).flatten(), (part * share).flatten()])
    mass = torch.bincount(places, masses, NODES)
    total = torch.bincount(places, masses * target.flatten().repeat(2), NODES)
    mean = (share * target).sum()
    heights = torch.where(mass > LEAST_SHARE, total / mass.clamp_min(LEAST_SHARE), mean).to(target)
    left = (share * (target - _Curve(heights)(source)).square()).sum()
    variance = (share * (target - mean).square()).sum()
    return _Curve(heights, float(1 - left / variance.clamp_min(1e-12)))


def _places(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the node below each value, and the place between it and the next."""
    position = values.clamp(0, 1) * (NODES - 1)
    low = position.detach().floor().clamp_max(NODES - 2)
    return low.long(), position - low
