"""Call of the kernel of Adam's step."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from nephi.kernels.library import library, threads
from nephi.kernels.memory import address


class _Step(ctypes.Structure):
    """`AdamStep` of adam.c."""

    _fields_ = tuple(
        (name, ctypes.c_float) for name in ("first_decay", "second_decay", "step", "second_correction", "epsilon")
    )


def can_step(flat: Tensor) -> bool:
    """Return whether the kernel supports this vector of parameters."""
    return flat.is_cpu and flat.dtype == torch.float32 and library() is not None


def adam_step(
    flat: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    betas: tuple[float, float],
    corrections: tuple[float, float],
    rate: float,
    epsilon: float,
) -> None:
    """Apply one step of Adam (Kingma and Ba, 2015) to `flat` `(N,)` in place, and set `gradient` to 0.

    `mean` and `square` are the running means of the gradient and of its square, updated in place. All are contiguous
    float32 vectors of one length. `corrections` are Adam's bias corrections `1 - beta^t`.
    """
    native = library()
    assert native is not None
    step = _Step(*betas, rate / corrections[0], corrections[1], epsilon)
    shape = flat.shape[:1]
    native.nephi_adam(
        ctypes.byref(step),
        shape[0],
        address(flat, "flat", shape),
        address(gradient, "gradient", shape),
        address(mean, "mean", shape),
        address(square, "square", shape),
        threads(),
    )
