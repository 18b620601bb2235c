"""Convert stored voxels to types that torch supports and that need little memory.

Whole numbers stay exact, because they may be labels. Conversion is slab by slab, without a further array of the size of
the image.
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

KEPT = tuple(map(np.dtype, ("uint8", "int8", "int16", "int32")))  # types that are not converted
SIGNED = tuple(map(np.dtype, ("int16", "int32", "int64")))
FLOAT32, FLOAT64 = np.dtype("float32"), np.dtype("float64")
EXACT = 2**24  # float32 represents every whole number up to this one
SLAB_VOXELS = 1_000_000


@dataclass(frozen=True)
class Scaling:
    """`value = slope * stored + intercept`."""

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether stored numbers are the values without scaling."""
        return self.slope == 1 and self.intercept == 0

    @property
    def is_whole(self) -> bool:
        """Whether slope and intercept are whole numbers, as in CT (slope 1, intercept -1024)."""
        factors = (self.slope, self.intercept)
        return all(abs(f) < 2**53 and f == round(f) for f in factors)


UNSCALED = Scaling()


def memory_type(stored: np.dtype[Any], low: int, high: int, scaling: Scaling) -> np.dtype[Any]:
    """Return the smallest type that represents scaled numbers of type `stored` between `low` and `high` exactly.

    This is an integer type if the scaled numbers are whole and one is wide enough; otherwise float32, or float64 if
    whole numbers beyond 2^24 are possible (for integers by `low` and `high`; for floats that are scaled or wider than
    32 bits, always).

    Raises `DataError` for whole numbers of 2^63 and more, which no type of torch represents.
    """
    if stored.kind == "b":
        return np.dtype("uint8")
    if stored.kind not in "iu":
        return FLOAT32 if scaling.is_identity and stored.itemsize <= 4 else FLOAT64
    if not scaling.is_whole:
        largest = max(abs(scaling.slope * end + scaling.intercept) for end in (low, high))
        return FLOAT32 if largest <= EXACT else FLOAT64
    ends = [int(scaling.slope) * end + int(scaling.intercept) for end in (low, high)]
    native = stored.newbyteorder("=")
    wider = [t for t in SIGNED if t.itemsize >= min(stored.itemsize, 4)]
    for candidate in ([native] if native in KEPT else []) + wider:
        limits = np.iinfo(candidate)
        if limits.min <= min(ends) and max(ends) <= limits.max:
            return candidate
    if scaling.is_identity:
        raise DataError(f"expected whole numbers below 2^63, found {max(ends)}; give such voxels another number")
    return FLOAT64


def voxels_to_tensor(stored: Array, scaling: Scaling = UNSCALED) -> tuple[Tensor, str | None]:
    """Convert stored numbers to a tensor; return it with the name of the stored type, None if the tensor has that type.

    uint16 becomes int16 or int32, and wider integers int32 or int64, by their values. float64 becomes float32, unless
    that changes a whole number (labels beyond 2^24) or makes a finite number infinite. Whole numbers scaled by whole
    numbers stay integers. The stored type of scaled voxels is not returned. The tensor shares memory with `stored`
    if the type allows, and `stored` may be overwritten.

    Raises `DataError` for whole numbers of 2^63 and more.
    """
    native = stored.dtype.newbyteorder("=")
    is_kept = native in KEPT and scaling.is_identity
    low, high = (0, 0) if is_kept or native.kind not in "iu" else (int(stored.min()), int(stored.max()))
    dtype = native if is_kept else memory_type(stored.dtype, low, high, scaling)
    voxels = _convert_to_float(stored, scaling) if dtype == FLOAT64 else convert_voxels(stored, dtype, scaling)
    stored_name = None if voxels.dtype == native or not scaling.is_identity or native.kind == "b" else native.name
    return torch.from_numpy(voxels), stored_name


def slab_to_tensor(stored: Array, scaling: Scaling) -> tuple[Tensor, str | None]:
    """Convert one of several arrays of a file as `voxels_to_tensor`, to a type that does not depend on its values."""
    native = stored.dtype.newbyteorder("=")
    limits = np.iinfo(native) if native.kind in "iu" else None
    low, high = (int(limits.min), int(limits.max)) if limits else (0, 0)
    if native == np.uint64 and scaling.is_identity:
        high = max(int(stored.max()), 2**63 - 1)
    dtype = memory_type(stored.dtype, low, high, scaling)
    stored_name = native.name if dtype != native and scaling.is_identity and native.kind != "b" else None
    return torch.from_numpy(convert_voxels(stored, dtype, scaling)), stored_name


def _convert_to_float(stored: Array, scaling: Scaling) -> Array:
    """Convert scaled voxels to float32, or to float64 if float32 changes a whole number or overflows.

    Other numbers are intensities: they are rounded to the seven digits of float32, which halves the memory.
    """
    narrow: Array = np.empty(stored.shape, FLOAT32, order="F")
    for start, stop in slabs(stored.shape):
        values = _scaled(stored[..., start:stop], scaling)
        with np.errstate(over="ignore", under="ignore"):
            narrow[..., start:stop] = values
        changed = (narrow[..., start:stop] != values) & np.isfinite(values)
        exact = values[changed]
        if np.any((exact == np.rint(exact)) | (np.abs(exact) > np.finfo(FLOAT32).max)):
            return convert_voxels(stored, FLOAT64, scaling)
    return narrow


def _scaled(stored: Array, scaling: Scaling) -> Array:
    values = stored.astype(FLOAT64)
    return values if scaling.is_identity else values * scaling.slope + scaling.intercept


def convert_voxels(stored: Array, dtype: np.dtype[Any], scaling: Scaling) -> Array:
    """Convert `stored` to the type `dtype`, scaled; in place if both types have the same size."""
    if scaling.is_identity and stored.dtype == dtype:
        return stored
    native = stored.dtype.isnative
    if (
        scaling.is_identity
        and native
        and "f" not in stored.dtype.kind + dtype.kind
        and stored.itemsize == dtype.itemsize
    ):
        return stored.view(dtype)  # uint16 below 32,768 has the same bits as int16
    out: Array = stored if stored.dtype == dtype else np.empty(stored.shape, dtype, order="F")
    with np.errstate(over="ignore", invalid="ignore"):
        for start, stop in slabs(stored.shape):
            values = stored[..., start:stop]
            if dtype.kind == "i" and not scaling.is_identity:  # float64 is exact up to 2^53 only
                values = values.astype(np.int64) * int(scaling.slope) + int(scaling.intercept)
            elif not scaling.is_identity:
                values = _scaled(values, scaling)
            out[..., start:stop] = values
    return out


def slabs(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield ranges `(start, stop)` of the last axis of about `SLAB_VOXELS` voxels each."""
    thickness = max(1, SLAB_VOXELS * shape[-1] // int(np.prod(shape)))
    for start in range(0, shape[-1], thickness):
        yield start, min(start + thickness, shape[-1])
