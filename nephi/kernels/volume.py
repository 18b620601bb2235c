"""The C structure that describes an image's voxels to the kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from nephi.kernels import memory
from nephi.kernels.library import library

TYPES = (torch.float32, torch.float64, torch.uint8, torch.int16, torch.int32)  # in the order of volume.h
Window = tuple[float, float]


class Volume(ctypes.Structure):
    """`Volume` of volume.h."""

    _fields_ = (
        ("dimension", ctypes.c_int64),
        ("shape", ctypes.c_int64 * 3),
        ("stride", ctypes.c_int64 * 3),
        ("voxels", ctypes.c_void_p),
        ("type", ctypes.c_int64),
        ("low", ctypes.c_float),
        ("scale", ctypes.c_float),
        ("clamped", ctypes.c_int64),
    )


def volume_of(data: Tensor, window: Window | None) -> Volume:
    """Return the structure of `data`, which may have any strides; it does not keep `data` alive."""
    return _volume(data, window, data.shape, data.stride())


def is_readable(data: Tensor) -> bool:
    """Return whether kernels can read these voxels: 2-D or 3-D, of one of `TYPES`, in main memory."""
    return memory.is_readable(data, TYPES)


def can_read_through(data: Tensor) -> bool:
    """Return whether kernels of whole volumes support `data`: readable, not empty, no gaps along the fastest axis."""
    return library() is not None and is_readable(data) and data.stride(memory_order(data)[-1]) == 1 and data.numel() > 0


def memory_order(data: Tensor) -> list[int]:
    """Return the axes from the slowest to the fastest in memory."""
    return sorted(range(data.ndim), key=lambda axis: -int(data.stride()[axis]))


def volume_in_order(data: Tensor, window: Window | None, order: Sequence[int]) -> Volume:
    """Return the structure of `data` with three axes, slowest first; a 2-D array gets a middle axis of one voxel.

    Raises `TypeError` for an array with gaps along the fastest axis.
    """
    shape, stride = [data.shape[axis] for axis in order], [data.stride(axis) for axis in order]
    if stride[-1] != 1:
        raise TypeError(f"voxels: expected an array without gaps along its fastest axis, got strides {stride}")
    if data.ndim == 2:
        shape.insert(1, 1)
        stride.insert(1, 0)
    return _volume(data, window, shape, stride)


def _volume(data: Tensor, window: Window | None, shape: Sequence[int], stride: Sequence[int]) -> Volume:
    low, scale = (0.0, 1.0) if window is None else (window[0], 1 / (window[1] - window[0]))
    voxels, type_index = memory.voxel_address(data, TYPES)
    return Volume(len(shape), tuple(shape), tuple(stride), voxels, type_index, low, scale, window is not None)
