"""Real numbers given as a tensor, an array, or a list."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nephi.errors import UsageError


def real_numbers(values: Any, name: str, shape: str) -> Tensor:
    """Return real numbers as a float64 tensor; a tensor or array of that type is not copied.

    Raises `UsageError` naming the argument `name` and the expected `shape` for anything but a tensor, an array, or a
    (nested) list of real numbers.
    """
    if isinstance(values, Tensor):
        if values.is_complex() or values.dtype == torch.bool:
            raise UsageError(f"{name}: expected real numbers of shape {shape}, got {values.dtype}")
        return values.to(torch.float64)
    if not isinstance(values, np.ndarray | list | tuple):
        raise UsageError(
            f"{name}: expected a tensor, an array or a list of real numbers of shape {shape}, got "
            f"{type(values).__name__}"
        )
    try:
        # Lists may contain tensors, which numpy converts one by one.
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"{name}: expected real numbers of shape {shape}, got rows of different lengths") from None
    if array.dtype.kind not in "iuf" and array.size:
        raise UsageError(f"{name}: expected real numbers of shape {shape}, got {_kind_of(array)}")
    return torch.from_numpy(np.array(array, dtype=np.float64, order="C"))


def _kind_of(array: np.ndarray[Any, Any]) -> str:
    kinds = {"b": "truth values", "c": "complex numbers", "O": "objects", "U": "texts", "S": "texts"}
    return kinds.get(array.dtype.kind, str(array.dtype))
