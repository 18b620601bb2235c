"""Voxel types: what torch has no type for, or what would take too much memory, is held in another one.

Whole numbers are always held exactly: they may be labels. Conversions go slab by slab, so that beside the two arrays
nothing large is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nephi.errors import DataError

Array = NDArray[Any]

KEPT = tuple(map(np.dtype, ("uint8", "int8", "int16", "int32")))  # held as they are
SIGNED = tuple(map(np.dtype, ("int16", "int32", "int64")))
FLOAT32, FLOAT64 = np.dtype("float32"), np.dtype("float64")
EXACT = 2**24  # float32 holds every whole number up to here
SLAB_VOXELS = 1_000_000


@dataclass(frozen=True)
class Scaling:
    """`value = slope * stored + intercept`."""

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether stored numbers are the values."""
        return self.slope == 1 and self.intercept == 0

    @property
    def is_whole(self) -> bool:
        """Whether whole numbers stay whole: the common CT header of slope 1, intercept -1024."""
        factors = (self.slope, self.intercept)
        return all(abs(f) < 2**53 and f == round(f) for f in factors)


UNSCALED = Scaling()


def held_type(stored: np.dtype[Any], low: int, high: int, scaling: Scaling) -> np.dtype[Any]:
    """Return the smallest type that holds stored numbers between `low` and `high` exactly.

    An integer type for whole numbers, if one is wide enough. Otherwise float32, or float64 where whole numbers beyond
    2^24 are possible: for integers that follows from `low` and `high`; floats count as if they held such numbers.

    Raises `DataError` for whole numbers of 2^63 and more, which no type of torch holds.
    """
    if stored.kind == "b":
        return np.dtype("uint8")
    if stored.kind not in "iu":
        return FLOAT32 if scaling.is_identity and stored.itemsize <= 4 else FLOAT64
    if not scaling.is_whole:
        reach = max(abs(scaling.slope * end + scaling.intercept) for end in (low, high))
        return FLOAT32 if reach <= EXACT else FLOAT64
    ends = [int(scaling.slope) * end + int(scaling.intercept) for end in (low, high)]
    native = stored.newbyteorder("=")
    wide = [t for t in SIGNED if t.itemsize >= min(stored.itemsize, 4)]
    for candidate in ([native] if native in KEPT else []) + wide:
        limits = np.iinfo(candidate)
        if limits.min <= min(ends) and max(ends) <= limits.max:
            return candidate
    if scaling.is_identity:
        raise DataError(f"expected whole numbers below 2^63, found {max(ends)}; give such voxels another number")
    return FLOAT64


def held_voxels(stored: Array, scaling: Scaling = UNSCALED) -> tuple[Tensor, str | None]:
    """Return stored numbers as a tensor, and the name of their type in the file where it is another one.

    Types that torch computes with stay; uint16 becomes int16 or int32, wider integers int32 or int64, whichever
    holds the values; float64 becomes float32, unless that changes a whole number (labels beyond 2^24) or makes a
    finite one infinite. Scaled whole numbers stay integers; scaled voxels count as having the type they are held in.
    Memory is shared with `stored` where the type allows, and `stored` may be overwritten.

    Raises `DataError` for whole numbers of 2^63 and more.
    """
    native = stored.dtype.newbyteorder("=")
    keep = native in KEPT and scaling.is_identity
    low, high = (0, 0) if keep or native.kind not in "iu" else (int(stored.min()), int(stored.max()))
    held = native if keep else held_type(stored.dtype, low, high, scaling)
    voxels = _held_floats(stored, scaling) if held == FLOAT64 else converted(stored, held, scaling)
    widened = None if voxels.dtype == native or not scaling.is_identity or native.kind == "b" else native.name
    return torch.from_numpy(voxels), widened


def held_slab(stored: Array, scaling: Scaling) -> tuple[Tensor, str | None]:
    """Return one of several arrays of one file, as `held_voxels` does, in a type that depends on their type alone."""
    native = stored.dtype.newbyteorder("=")
    limits = np.iinfo(native) if native.kind in "iu" else None
    low, high = (int(limits.min), int(limits.max)) if limits else (0, 0)
    if native == np.uint64 and scaling.is_identity:
        high = max(int(stored.max()), 2**63 - 1)
    held = held_type(stored.dtype, low, high, scaling)
    widened = native.name if held != native and scaling.is_identity and native.kind != "b" else None
    return torch.from_numpy(converted(stored, held, scaling)), widened


def _held_floats(stored: Array, scaling: Scaling) -> Array:
    """Return scaled voxels as float32, or as float64 where float32 changes a whole number or a finite one to infinity.

    Other numbers are rounded to the seven digits of float32: intensities, of which images take half the memory so.
    """
    narrow: Array = np.empty(stored.shape, FLOAT32, order="F")
    for start, stop in slabs(stored.shape):
        values = _scaled(stored[..., start:stop], scaling)
        with np.errstate(over="ignore", under="ignore"):
            narrow[..., start:stop] = values
        changed = (narrow[..., start:stop] != values) & np.isfinite(values)
        exact = values[changed]
        if np.any((exact == np.rint(exact)) | (np.abs(exact) > np.finfo(FLOAT32).max)):
            return converted(stored, FLOAT64, scaling)
    return narrow


def _scaled(stored: Array, scaling: Scaling) -> Array:
    values = stored.astype(FLOAT64)
    return values if scaling.is_identity else values * scaling.slope + scaling.intercept


def converted(stored: Array, held: np.dtype[Any], scaling: Scaling) -> Array:
    """Return `stored` scaled and in the type `held`; in place where both types have the same size."""
    if scaling.is_identity and stored.dtype == held:
        return stored
    native = stored.dtype.isnative
    if scaling.is_identity and native and "f" not in stored.dtype.kind + held.kind and stored.itemsize == held.itemsize:
        return stored.view(held)  # uint16 below 32,768 has the same bits as int16
    out: Array = stored if stored.dtype == held else np.empty(stored.shape, held, order="F")
    with np.errstate(over="ignore", invalid="ignore"):
        for start, stop in slabs(stored.shape):
            values = stored[..., start:stop]
            if held.kind == "i" and not scaling.is_identity:  # float64 is exact up to 2^53 only
                values = values.astype(np.int64) * int(scaling.slope) + int(scaling.intercept)
            elif not scaling.is_identity:
                values = _scaled(values, scaling)
            out[..., start:stop] = values
    return out


def slabs(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Split the last axis into ranges `(start, stop)` of about a million voxels each."""
    thickness = max(1, SLAB_VOXELS * shape[-1] // int(np.prod(shape)))
    for start in range(0, shape[-1], thickness):
        yield start, min(start + thickness, shape[-1])
