"""Calling the kernel that smooths and thins a volume."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from nephi.kernels.library import library
from nephi.kernels.volume import Window, memory_order, volume_in_order


class _Band(ctypes.Structure):
    """`Band` of smooth.c."""

    _fields_ = (
        ("count", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("first", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
    )


def smooth(data: Tensor, window: Window | None, matrices: Sequence[Tensor]) -> Tensor:
    """Return the windowed volume multiplied along each axis by a matrix `(outputs, inputs)`, float32.

    The rows of a matrix are zero outside a band that moves on from row to row. The result has `data`'s memory order.
    """
    native = library()
    assert native is not None
    order = memory_order(data)
    bands = [_banded(matrices[axis]) for axis in order]
    if data.ndim == 2:
        bands.insert(1, (torch.zeros(1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.float32)))
    source = volume_in_order(data, window, order)
    pieces = (_Band(len(w), w.shape[1], first.data_ptr(), w.data_ptr()) for first, w in bands)
    outputs = torch.empty([matrices[axis].shape[0] for axis in order], dtype=torch.float32)
    if native.nephi_smooth(ctypes.byref(source), (_Band * 3)(*pieces), outputs.data_ptr()):
        raise MemoryError("no memory to smooth a volume in")
    return outputs.permute([order.index(axis) for axis in range(data.ndim)])


def _banded(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first input of each row's band, `(outputs,)`, and the weights from there on, `(outputs, width)`."""
    used = matrix != 0
    low = used.int().argmax(dim=1)
    high = matrix.shape[1] - used.flip(1).int().argmax(dim=1)
    width = int((high - low).max())
    first = low.clamp_max(matrix.shape[1] - width)
    return first, matrix.gather(1, first[:, None] + torch.arange(width)).contiguous()
