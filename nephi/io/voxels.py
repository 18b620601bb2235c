"""Voxel types: what torch has no type for, or what would take too much memory, is held in another one.

Conversions go slab by slab, so that beside the two arrays nothing large is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]

KEPT = tuple(map(np.dtype, ("uint8", "int8", "int16", "int32")))  # held as they are
SIGNED = tuple(map(np.dtype, ("int16", "int32", "int64")))
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
        return self.slope == round(self.slope) and self.intercept == round(self.intercept)


UNSCALED = Scaling()


def held_type(stored: np.dtype[Any], low: int, high: int, scaling: Scaling) -> np.dtype[Any]:
    """Return the type to hold stored numbers between `low` and `high` in: an integer that fits, else float32."""
    if stored.kind == "b":
        return np.dtype("uint8")
    if stored.kind not in "iu" or not scaling.is_whole:
        return np.dtype("float32")
    ends = [int(scaling.slope) * end + int(scaling.intercept) for end in (low, high)]
    native = stored.newbyteorder("=")
    wide = [t for t in SIGNED if t.itemsize >= min(stored.itemsize, 4)]
    for candidate in ([native] if native in KEPT else []) + wide:
        limits = np.iinfo(candidate)
        if limits.min <= min(ends) and max(ends) <= limits.max:
            return candidate
    return np.dtype("float32")


def held_voxels(stored: Array, scaling: Scaling = UNSCALED) -> tuple[Tensor, str | None]:
    """Return stored numbers as a tensor, and the name of their type in the file where it is another one.

    Types that torch computes with stay; uint16 becomes int16 or int32, wider integers int32 or int64, whichever
    holds the values; floats become float32. Scaled whole numbers stay integers; scaled voxels count as having the
    type they are held in. Memory is shared with `stored` where the type allows, and `stored` may be overwritten.
    """
    native = stored.dtype.newbyteorder("=")
    keep = native in KEPT and scaling.is_identity
    low, high = (0, 0) if keep or native.kind not in "iu" else (int(stored.min()), int(stored.max()))
    held = native if keep else held_type(stored.dtype, low, high, scaling)
    widened = None if held == native or not scaling.is_identity or native.kind == "b" else native.name
    return torch.from_numpy(converted(stored, held, scaling)), widened


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
            if not scaling.is_identity:
                values = values.astype(np.float64) * scaling.slope + scaling.intercept
            out[..., start:stop] = values
    return out


def file_type(voxel_type: str) -> np.dtype[Any]:
    """Return the numpy type that voxels called `voxel_type` are written in: bool as uint8, half floats as float32."""
    return np.dtype({"bool": "uint8", "float16": "float32", "bfloat16": "float32"}.get(voxel_type, voxel_type))


def encoded(data: Tensor, dtype: np.dtype[Any]) -> Array:
    """Return the voxels as a numpy array of `dtype`, rounded and clamped to its range where it is an integer."""
    values: Array = (data.float() if data.dtype in (torch.float16, torch.bfloat16) else data).detach().cpu().numpy()
    if values.dtype == dtype:
        return values
    if dtype.kind in "iu" and values.dtype.kind != "b":
        if values.dtype.kind == "f":
            values = np.rint(values.astype(np.float64))
        limits, own = np.iinfo(dtype), np.iinfo(values.dtype if values.dtype.kind in "iu" else np.int64)
        values = np.clip(values, max(limits.min, own.min), min(limits.max, own.max))
    return values.astype(dtype)


def slabs(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Split the last axis into ranges `(start, stop)` of about a million voxels each."""
    thickness = max(1, SLAB_VOXELS * shape[-1] // int(np.prod(shape)))
    for start in range(0, shape[-1], thickness):
        yield start, min(start + thickness, shape[-1])
