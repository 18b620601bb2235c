"""Voxels in the type of the file they are written to: what it cannot hold is an error or a warning."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nephi.errors import DataError, warn
from nephi.io.voxels import Array


def file_type(voxel_type: str) -> np.dtype[Any]:
    """Return the numpy type that voxels called `voxel_type` are written in: bool as uint8, half floats as float32."""
    return np.dtype({"bool": "uint8", "float16": "float32", "bfloat16": "float32"}.get(voxel_type, voxel_type))


def encoded(data: Tensor, dtype: np.dtype[Any], name: str = "voxels") -> Array:
    """Return the voxels as a numpy array of `dtype`, rounded and clamped to its range where it is an integer.

    A `DataWarning` naming `name` says when that changes a value. Raises `DataError` for NaN and infinite voxels where
    `dtype` is an integer: it has no number for them.
    """
    values: Array = (data.float() if data.dtype in (torch.float16, torch.bfloat16) else data).detach().cpu().numpy()
    if values.dtype == dtype or values.dtype.kind == "b":
        return values.astype(dtype, copy=False)
    if dtype.kind == "f":
        return _encoded_floats(values, dtype, name)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(
            f"{name}: expected finite voxels to write as {dtype.name}, found NaN or infinite ones; replace them, or "
            "write the image in a float type"
        )
    whole = np.rint(values.astype(np.float64)) if values.dtype.kind == "f" else values
    low, high = _common_range(whole.dtype, dtype)
    written = np.clip(whole, low, high).astype(dtype)
    if whole is not values and not np.array_equal(whole, values):
        warn(f"{name}: expected whole numbers to write as {dtype.name}, found fractions: rounded; write a float type")
    if not np.array_equal(written, whole):
        limits = np.iinfo(dtype)
        warn(
            f"{name}: expected voxels between {limits.min} and {limits.max} to write as {dtype.name}, found values "
            "beyond: clamped; write a wider type"
        )
    return written


def _encoded_floats(values: Array, dtype: np.dtype[Any], name: str) -> Array:
    with np.errstate(over="ignore"):
        written = values.astype(dtype)
    if values.itemsize > dtype.itemsize and not np.array_equal(np.isinf(written), np.isinf(values)):
        raise DataError(f"{name}: expected voxels that {dtype.name} can hold, found larger ones; write a wider type")
    if values.dtype.kind != "f" and not np.array_equal(written, values):
        warn(f"{name}: whole numbers beyond the digits of {dtype.name} were rounded; write an integer type")
    return written


def _common_range(own: np.dtype[Any], dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the least and largest number of `own` that an integer `dtype` holds."""
    limits = np.iinfo(dtype)
    if own.kind == "f":
        high = float(limits.max)  # 2^63 - 1 becomes 2^63, which int64 does not hold
        return float(limits.min), high if int(high) <= limits.max else np.nextafter(high, 0)
    ours = np.iinfo(own)
    return max(limits.min, ours.min), min(limits.max, ours.max)
