"""Calls of the kernels that read whole volumes in one pass: smoothing with downsampling, and foreground profiles."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from nephi.kernels.library import library, threads
from nephi.kernels.memory import address, allocate
from nephi.kernels.volume import Window, memory_order, volume_in_order


class _Band(ctypes.Structure):
    """`Band` of whole_volume.c."""

    _fields_ = (
        ("count", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("first", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
    )


def smooth(data: Tensor, window: Window | None, matrices: Sequence[Tensor]) -> Tensor:
    """Return the windowed volume multiplied along each axis by a matrix `(outputs, inputs)`, float32.

    The nonzero entries of each row form a band whose start does not decrease from row to row. The result has the
    memory order of `data`.
    """
    native = library()
    assert native is not None
    order = memory_order(data)
    inputs = [matrix.shape[1] for matrix in matrices]
    if inputs != list(data.shape):
        raise TypeError(f"matrices: expected {list(data.shape)} columns, one a voxel of each axis, got {inputs}")
    bands = [_banded(matrices[axis]) for axis in order]
    if data.ndim == 2:
        bands.insert(1, (torch.zeros(1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.float32)))
    source = volume_in_order(data, window, order)
    outputs, outputs_address = allocate(bands[0][1], tuple(matrices[axis].shape[0] for axis in order))
    c_bands = (_Band * 3)(*(_band(*band) for band in bands))
    if native.nephi_smooth(ctypes.byref(source), c_bands, outputs_address, threads()):
        raise MemoryError("not enough memory to smooth a volume")
    return outputs.permute([order.index(axis) for axis in range(data.ndim)])


def _band(first: Tensor, weights: Tensor) -> _Band:
    count, width = weights.shape
    return _Band(
        count, width, address(first, "first", (count,), torch.int64), address(weights, "weights", (count, width))
    )


def _banded(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first input of each row's band, `(outputs,)`, and the weights from that input on, `(outputs, width)`.

    All bands have the width of the widest one.
    """
    nonzero = matrix != 0
    low = nonzero.int().argmax(dim=1)
    high = matrix.shape[1] - nonzero.flip(1).int().argmax(dim=1)
    width = int((high - low).max())
    first = low.clamp_max(matrix.shape[1] - width)
    return first, matrix.gather(1, first[:, None] + torch.arange(width)).contiguous()


def foreground_profiles(data: Tensor) -> list[Tensor]:
    """Return for each axis the number of voxels above 0 in every slice across it, `(shape[axis],)`, int64."""
    native = library()
    assert native is not None
    order = memory_order(data)
    source = volume_in_order(data, None, order)
    counts = torch.zeros(sum(source.shape), dtype=torch.int64, device="cpu")
    counts_address = address(counts, "counts", (len(counts),), torch.int64)
    if native.nephi_foreground_profiles(ctypes.byref(source), counts_address, threads()):
        raise MemoryError("not enough memory to count the foreground voxels of a volume")
    slow, middle, fast = counts.split(list(source.shape))
    profiles = [slow, middle, fast] if data.ndim == 3 else [slow, fast]
    return [profiles[order.index(axis)] for axis in range(data.ndim)]
