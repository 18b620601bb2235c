"""Convert voxels to the type of a file; values that the type cannot represent raise an error or a warning."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nephi.errors import DataError, warn
from nephi.images.voxels import Array


def file_type(voxel_type: str) -> np.dtype[Any]:
    """Return the numpy type of a file for `voxel_type`: uint8 for bool, float32 for half-precision floats."""
    return np.dtype({"bool": "uint8", "float16": "float32", "bfloat16": "float32"}.get(voxel_type, voxel_type))


def encode_voxels(data: Tensor, dtype: np.dtype[Any], name: str = "voxels") -> Array:
    """Convert voxels to a numpy array of `dtype`; for an integer type, rounded and clamped to its range.

    Issues a `DataWarning` naming `name` if that changes a value. Raises `DataError` for NaN and infinite voxels if
    `dtype` is an integer type, and for values that overflow a float type.
    """
    values: Array = (data.float() if data.dtype in (torch.float16, torch.bfloat16) else data).detach().cpu().numpy()
    if values.dtype == dtype or values.dtype.kind == "b":
        return values.astype(dtype, copy=False)
    if dtype.kind == "f":
        return _encode_floats(values, dtype, name)
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


def _encode_floats(values: Array, dtype: np.dtype[Any], name: str) -> Array:
    with np.errstate(over="ignore"):
        written = values.astype(dtype)
    if values.itemsize > dtype.itemsize and not np.array_equal(np.isinf(written), np.isinf(values)):
        raise DataError(f"{name}: expected voxels in the range of {dtype.name}, found larger ones; write a wider type")
    if values.dtype.kind != "f" and not np.array_equal(written, values):
        warn(
            f"{name}: expected whole numbers that {dtype.name} represents exactly, found larger ones: rounded; write "
            "an integer type"
        )
    return written


def _common_range(source: np.dtype[Any], dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the least and largest number of type `source` that the integer type `dtype` represents."""
    limits = np.iinfo(dtype)
    if source.kind == "f":
        high = float(limits.max)  # 2^63 - 1 is rounded to 2^63, which is out of range for int64
        return float(limits.min), high if int(high) <= limits.max else np.nextafter(high, 0)
    source_limits = np.iinfo(source)
    return max(limits.min, source_limits.min), min(limits.max, source_limits.max)
