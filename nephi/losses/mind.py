"""MIND with a self-similarity context, for images of different modalities or contrast."""

from __future__ import annotations

from functools import cache
from itertools import combinations, product

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.losses.shapes import check_patches
from nephi.losses.weighting import weighted_mean

# Smallest variance a descriptor is scaled by, in squared intensity (images in about [0, 1]): noise of a
# standard deviation of 0.002. Patches below it count as flat.
LEAST_VARIANCE = 1e-5

_DIMENSION_OF_SAMPLES = {5**2: 2, 5**3: 3}


def mind_ssc(fixed: Tensor, moving: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean squared difference of the MIND-SSC descriptors of two sets of patches.

    Descriptors after Heinrich et al. (MICCAI 2013). The 2 D neighbours of a patch's centre at unit distance
    form pairs at distance sqrt(2): 12 pairs in 3-D, 4 in 2-D. With d_q the mean squared difference of the 3^D
    sub-patches around the two neighbours of pair q, and `V = max(mean_q d_q, 1e-5)`, the descriptor is
    `exp(-d_q / V)`, invariant to `a * image + b` with a of either sign. The loss is `mean_p mean_q
    (descriptor_f - descriptor_m)^2`: squared, not absolute, because that is smooth where the images agree, so
    that steps shrink as a registration converges.

    `fixed` and `moving` are `(P, K)`: P patches of K = 5^D samples at matching points, on a regular cube of
    offsets -2, -1, 0, 1, 2 an axis in the order of `torch.cartesian_prod` (first axis slowest). `weights` is
    `(P,)`, non-negative and constant to autograd, or None for equal weights.

    The result is a dimensionless scalar in [0, 1): 0 for equal descriptors, and if all weights are zero.
    Raises `UsageError` when shapes do not match or K is neither 25 (2-D) nor 125 (3-D).
    """
    check_patches(fixed, moving, weights)
    if fixed.shape[1] not in _DIMENSION_OF_SAMPLES:
        raise UsageError(
            f"fixed: expected patches of 25 (2-D) or 125 (3-D) samples, offsets -2..2 an axis, got {fixed.shape[1]}"
        )
    difference = _descriptors(fixed) - _descriptors(moving)
    return weighted_mean(difference.square().mean(1), weights)


def _descriptors(patches: Tensor) -> Tensor:
    """Return the MIND-SSC descriptors, `(P, pairs)`, of patches `(P, 5^D)`."""
    dimension = _DIMENSION_OF_SAMPLES[patches.shape[1]]
    first, second = _pair_samples(dimension, patches.device)
    difference = patches.index_select(1, first) - patches.index_select(1, second)
    distances = difference.square().unflatten(1, (-1, 3**dimension)).mean(2)
    return torch.exp(-distances / distances.mean(1, keepdim=True).clamp_min(LEAST_VARIANCE))


@cache
def _pair_samples(dimension: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the indices in the 5^D cube of both sub-patches of every pair, two tensors `(pairs * 3^D,)`."""
    steps = [
        tuple(sign * (axis == other) for other in range(dimension)) for axis in range(dimension) for sign in (1, -1)
    ]
    # Opposite neighbours are 2 apart; all others sqrt(2): those that do not lie on one axis.
    pairs = [(a, b) for a, b in combinations(steps, 2) if any(x + y for x, y in zip(a, b, strict=True))]
    offsets = list(product((-1, 0, 1), repeat=dimension))

    def index(neighbour: tuple[int, ...], offset: tuple[int, ...]) -> int:
        flat = 0
        for step, shift in zip(neighbour, offset, strict=True):
            flat = 5 * flat + step + shift + 2
        return flat

    # Kept for later calls, so it must not be an inference tensor even if the first call is made in inference
    # mode: autograd cannot save those.
    with torch.inference_mode(False):
        first = torch.tensor(
            [index(a, offset) for a, _ in pairs for offset in offsets], dtype=torch.int64, device=device
        )
        second = torch.tensor(
            [index(b, offset) for _, b in pairs for offset in offsets], dtype=torch.int64, device=device
        )
    return first, second
