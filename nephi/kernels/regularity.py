"""Calling the kernel of inverse consistency, folding and diffusion."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from nephi.kernels.library import library

PENALTIES = ("gradicon", "icon", "folding", "diffusion")  # in the order of regularity.c


class _RoundTrip(ctypes.Structure):
    """`RoundTrip` of regularity.c."""

    _fields_ = (
        ("dimension", ctypes.c_int64),
        ("points", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("start", "back", "first", "second")),
        *((name, ctypes.c_float) for name in (*PENALTIES, "floor")),
    )


class Penalties(NamedTuple):
    """Weighted terms in the order of `PENALTIES`, and the gradients of their sum."""

    terms: list[float]
    by_back: Tensor
    by_first: Tensor
    by_second: Tensor


def round_trip(
    start: Tensor, back: Tensor, first: Tensor, second: Tensor, weights: tuple[float, ...], floor: float
) -> Penalties:
    """Penalise a map and its inverse at points `start` `(N, D)`, which both together take to `back`.

    `first` and `second` `(N, D, D)` are the Jacobians of the map there, and of the inverse at the moved points; all are
    contiguous float32. `weights` are in the order of `PENALTIES`; a determinant below `floor` counts as folding.
    """
    native = library()
    assert native is not None
    count, dimension = start.shape
    given = start, back, first, second
    assert all(tensor.is_contiguous() and tensor.dtype == torch.float32 for tensor in given)
    trip = _RoundTrip(dimension, count, *(tensor.data_ptr() for tensor in given), *weights, floor)
    terms = (ctypes.c_double * len(PENALTIES))()
    gradients = [torch.empty_like(tensor) for tensor in given[1:]]
    native.nephi_round_trip(ctypes.byref(trip), terms, *(tensor.data_ptr() for tensor in gradients))
    return Penalties(list(terms), *gradients)
