"""Calling the kernel of Adam's step."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from nephi.kernels.library import library


class _Step(ctypes.Structure):
    """`AdamStep` of adam.c."""

    _fields_ = tuple((name, ctypes.c_float) for name in ("first", "second", "step", "share", "epsilon"))


def can_step(flat: Tensor) -> bool:
    """Tell whether the kernel serves this vector of parameters."""
    return flat.device.type == "cpu" and flat.dtype == torch.float32 and library() is not None


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
    """Move `flat` by one step of Adam, in place as both running means, and set `gradient` to 0.

    All are contiguous float32 vectors. `shares` are `1 - beta^t`, the part of each running mean that does not stem
    from its start at 0.
    """
    native = library()
    assert native is not None
    step = _Step(*betas, rate / shares[0], shares[1], epsilon)
    native.nephi_adam(
        ctypes.byref(step), len(flat), flat.data_ptr(), gradient.data_ptr(), mean.data_ptr(), square.data_ptr()
    )
