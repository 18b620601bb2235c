"""Calling the kernel that smooths and thins a volume."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from nephi.kernels.library import library
from nephi.kernels.memory import address, allocate
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
    inputs = [matrix.shape[1] for matrix in matrices]
    if inputs != list(data.shape):
        raise TypeError(f"matrices: a kernel expected one for each of {tuple(data.shape)} voxels, got {inputs} inputs")
    bands = [_banded(matrices[axis]) for axis in order]
    if data.ndim == 2:
        bands.insert(1, (torch.zeros(1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.float32)))
    source = volume_in_order(data, window, order)
    outputs, into_outputs = allocate(bands[0][1], tuple(matrices[axis].shape[0] for axis in order))
    if native.nephi_smooth(ctypes.byref(source), (_Band * 3)(*(_band(*band) for band in bands)), into_outputs):
        raise MemoryError("no memory to smooth a volume in")
    return outputs.permute([order.index(axis) for axis in range(data.ndim)])


def _band(first: Tensor, weights: Tensor) -> _Band:
    count, width = weights.shape
    return _Band(
        count, width, address(first, "first", (count,), torch.int64), address(weights, "weights", (count, width))
    )


def _banded(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first input of each row's band, `(outputs,)`, and the weights from there on, `(outputs, width)`."""
    used = matrix != 0
    low = used.int().argmax(dim=1)
    high = matrix.shape[1] - used.flip(1).int().argmax(dim=1)
    width = int((high - low).max())
    first = low.clamp_max(matrix.shape[1] - width)
    return first, matrix.gather(1, first[:, None] + torch.arange(width)).contiguous()
