"""Call of the kernel of inverse consistency and of the penalties of one Jacobian."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from torch import Tensor

from nephi.kernels.library import library, threads
from nephi.kernels.memory import address, allocate

PENALTIES = ("gradicon", "icon", "folding", "diffusion", "total_variation")  # in the order of regularity.h


class _RoundTrip(ctypes.Structure):
    """`RoundTrip` of regularity.h."""

    _fields_ = (
        ("dimension", ctypes.c_int64),
        ("points", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("start", "back", "first", "second")),
        *((name, ctypes.c_float) for name in (*PENALTIES, "floor", "epsilon")),
    )


class Penalties(NamedTuple):
    """Weighted terms in the order of `PENALTIES`, and the gradients of their sum."""

    terms: list[float]
    by_back: Tensor
    by_first: Tensor
    by_second: Tensor


def round_trip(
    start: Tensor,
    back: Tensor,
    first: Tensor,
    second: Tensor,
    weights: tuple[float, ...],
    floor: float,
    epsilon: float,
) -> Penalties:
    """Return the penalties of a map phi and its inverse psi at points, with gradients.

    `start` `(N, D)` are the points x, `back` `(N, D)` is psi(phi(x)), `first` `(N, D, D)` the Jacobian of phi at x,
    `second` `(N, D, D)` that of psi at phi(x); all are contiguous float32. `weights` are in the order of `PENALTIES`; a
    determinant below `floor` counts as folding; total variation is smooth below about `epsilon`.
    """
    native = library()
    assert native is not None
    count, dimension = start.shape
    if dimension not in (2, 3):
        raise TypeError(f"start: expected points of 2 or 3 coordinates, got shape {tuple(start.shape)}")
    points, matrices = (count, dimension), (count, dimension, dimension)
    structure = _RoundTrip(
        dimension,
        count,
        address(start, "start", points),
        address(back, "back", points),
        address(first, "first", matrices),
        address(second, "second", matrices),
        *(weight for _, weight in zip(PENALTIES, weights, strict=True)),
        floor,
        epsilon,
    )
    terms = (ctypes.c_double * len(PENALTIES))()
    by_back, back_address = allocate(back, points)
    by_first, first_address = allocate(first, matrices)
    by_second, second_address = allocate(second, matrices)
    if native.nephi_round_trip(ctypes.byref(structure), terms, back_address, first_address, second_address, threads()):
        raise MemoryError("not enough memory for the sums of penalties")
    return Penalties(list(terms), by_back, by_first, by_second)
