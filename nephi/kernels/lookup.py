"""Calling the kernel that looks images up."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from nephi.kernels.library import library, over_points

TYPES = (torch.float32, torch.float64, torch.uint8, torch.int16, torch.int32)  # in the order of lookup.c


class _Volume(ctypes.Structure):
    """`Volume` of lookup.c."""

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


def can_look_up(data: Tensor, points_voxel: Tensor) -> bool:
    """Tell whether the kernel serves these voxels and points."""
    return (
        data.device.type == "cpu"
        and data.dtype in TYPES
        and points_voxel.dtype == torch.float32
        and data.ndim == points_voxel.shape[-1]
        and data.ndim in (2, 3)
        and library() is not None
    )


def look_up(
    data: Tensor, points_voxel: Tensor, window: tuple[float, float] | None, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the multilinear values `(...)` at voxel points `(..., D)`, and if wanted the gradients `(..., D)`.

    The window's `(low, high)` become (0, 1), values beyond are clamped (there the gradient is 0). Any strides.
    """
    native = library()
    assert native is not None
    points = points_voxel.detach().contiguous()
    values = points.new_empty(points.shape[:-1])
    gradients = torch.empty_like(points) if gradient else None
    low, scale = (0.0, 1.0) if window is None else (window[0], 1 / (window[1] - window[0]))
    three = ctypes.c_int64 * 3
    volume = _Volume(
        data.ndim,
        three(*data.shape),
        three(*data.stride()),
        data.data_ptr(),
        TYPES.index(data.dtype),
        low,
        scale,
        window is not None,
    )
    flat, step = points.data_ptr(), 4 * data.ndim

    def work(start: int, stop: int) -> None:
        into = None if gradients is None else gradients.data_ptr() + step * start
        native.nephi_lookup(
            ctypes.byref(volume), stop - start, flat + step * start, values.data_ptr() + 4 * start, into
        )

    over_points(work, values.numel())
    return values, gradients
