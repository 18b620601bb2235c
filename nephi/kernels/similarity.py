"""Call of the kernel that computes the similarity of patches."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import torch
from torch import Tensor

from nephi.kernels.library import library, threads
from nephi.kernels.memory import address, allocate, plain

MOST_SAMPLES = 1024  # of a patch: the kernel sums them in single precision
MEASURES = ("lncc", "lncc2", "pooled", "ncc", "mse")  # in the order of similarity.h


class Measure(ctypes.Structure):
    """`Measure` of similarity.h."""

    _fields_ = (
        ("patches", ctypes.c_int64),
        ("samples", ctypes.c_int64),
        *((name, ctypes.c_float) for name in (*MEASURES, "local_epsilon", "global_epsilon")),
    )


def measure_of(patches: int, samples: int, factors: Mapping[str, float], epsilons: tuple[float, float]) -> Measure:
    """Return the structure of a sum of measures, see `compare`."""
    if samples > MOST_SAMPLES:
        raise TypeError(f"fixed: expected at most {MOST_SAMPLES} samples a patch, got {samples}")
    return Measure(patches, samples, *(factors.get(name, 0.0) for name in MEASURES), *epsilons)


def can_compare(fixed: Tensor, moving: Tensor, weights: Tensor | None) -> bool:
    """Return whether the kernel supports these patches and weights."""
    tensors = (t for t in (fixed, moving, weights) if t is not None)
    supported = all(t.is_cpu and t.dtype == torch.float32 for t in tensors)
    return supported and fixed.shape[-1] <= MOST_SAMPLES and library() is not None


def compare(
    fixed: Tensor,
    moving: Tensor,
    weights: Tensor | None,
    factors: Mapping[str, float],
    epsilons: tuple[float, float],
    gradient: bool,
) -> tuple[float, Tensor | None]:
    """Return the weighted sum of measures and, with `gradient`, its gradient `(P, K)` with respect to `moving`.

    `fixed` and `moving` are `(P, K)`, `weights` of the patches `(P,)` or None; float32. `factors` maps the name of a
    measure to its weight in the sum; `epsilons` are added to the product of variances of patches (`lncc`, `lncc2`) and
    of whole images (`pooled`, `ncc`).
    """
    native = library()
    assert native is not None
    fixed, moving = plain(fixed), plain(moving)
    weights = None if weights is None else plain(weights)
    patches, samples = fixed.shape
    measure = measure_of(patches, samples, factors, epsilons)
    by_moving, by_moving_address = allocate(moving, (patches, samples)) if gradient else (None, None)
    loss = ctypes.c_double()
    if native.nephi_similarity(
        ctypes.byref(measure),
        address(fixed, "fixed", (patches, samples)),
        address(moving, "moving", (patches, samples)),
        None if weights is None else address(weights, "weights", (patches,)),
        ctypes.byref(loss),
        by_moving_address,
        threads(),
    ):
        raise MemoryError("not enough memory to compare patches")
    return loss.value, by_moving
