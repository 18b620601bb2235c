"""Calling the kernel of Adam's step."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from nephi.kernels.library import library
from nephi.kernels.memory import address


class _Step(ctypes.Structure):
    """`AdamStep` of adam.c."""

    _fields_ = tuple((name, ctypes.c_float) for name in ("first", "second", "step", "share", "epsilon"))


def can_step(flat: Tensor) -> bool:
    """Tell whether the kernel serves this vector of parameters."""
    return flat.is_cpu and flat.dtype == torch.float32 and library() is not None


def adam_step(
    flat: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    betas: tuple[float, float],
    shares: tuple[float, float],
    rate: float,
    epsilon: float,
) -> None:
    """Move `flat` `(N,)` by one step of Adam, in place as both running means, and set `gradient` to 0.

    All are contiguous float32 vectors of one length. `shares` are `1 - beta^t`, the part of each running mean that does
    not stem from its start at 0.
    """
    native = library()
    assert native is not None
    step = _Step(*betas, rate / shares[0], shares[1], epsilon)
    shape = flat.shape[:1]
    native.nephi_adam(
        ctypes.byref(step),
        shape[0],
        address(flat, "flat", shape),
        address(gradient, "gradient", shape),
        address(mean, "mean", shape),
        address(square, "square", shape),
    )
