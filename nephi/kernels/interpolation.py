"""Calling the kernel that looks images up."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from nephi.kernels.library import library, over_points
from nephi.kernels.memory import address, allocate, plain
from nephi.kernels.volume import Volume, Window, is_readable, volume_of

MOST_VOXELS = 2**31  # the kernels count them in 32 bits


class _Patches(ctypes.Structure):
    """`Patches` of interpolation.c."""

    _fields_ = (
        ("to_voxel", ctypes.c_void_p),
        ("origin", ctypes.c_void_p),
        ("samples", ctypes.c_int64),
        ("offsets", ctypes.c_void_p),
    )


class PatchValues(NamedTuple):
    """Values `(P, K)` of patches, what `patches_gradient` needs, and 1 for centres inside the image, else 0, `(P,)`."""

    values: Tensor
    gradients: Tensor | None
    inside: Tensor


class PatchFrame:
    """Where the samples of patches lie: world mm to voxels, `to_voxel @ x + origin`, and `offsets` `(K, D)` in mm."""

    def __init__(self, to_voxel: Tensor, origin: Tensor, offsets: Tensor) -> None:
        to_voxel, origin, offsets = (tensor.float().contiguous() for tensor in (to_voxel, origin, offsets))
        self._kept = to_voxel, origin, offsets  # for their addresses are
        self.samples, self.dimension = offsets.shape
        self.structure = _Patches(
            address(to_voxel, "to_voxel", (self.dimension, self.dimension)),
            address(origin, "origin", (self.dimension,)),
            self.samples,
            address(offsets, "offsets", (self.samples, self.dimension)),
        )


def can_interpolate(data: Tensor, points_voxel: Tensor) -> bool:
    """Return whether the kernel serves these voxels and points."""
    usual = points_voxel.dtype == torch.float32 and points_voxel.is_cpu and data.ndim == points_voxel.shape[-1]
    return usual and library() is not None and is_readable(data) and _last_voxel(data) < MOST_VOXELS


def interpolate(
    data: Tensor, points_voxel: Tensor, window: Window | None, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the multilinear values `(...)` at voxel points `(..., D)`, and if wanted the gradients `(..., D)`.

    The window's `(low, high)` become (0, 1), values beyond are clamped (there the gradient is 0). Any strides.
    """
    native = library()
    assert native is not None
    points = plain(points_voxel)
    shape = *points.shape[:-1], data.ndim
    values, into_values = allocate(points, shape[:-1])
    gradients, into_gradients = allocate(points, shape) if gradient else (None, 0)
    volume = _volume_to_interpolate(data, window)
    flat, step = address(points, "points_voxel", shape), 4 * data.ndim

    def work(start: int, stop: int) -> None:
        into = into_gradients + step * start if gradient else None
        native.nephi_lookup(ctypes.byref(volume), stop - start, flat + step * start, into_values + 4 * start, into)

    over_points(work, values.numel())
    return values, gradients


def interpolate_patches(
    data: Tensor,
    window: Window | None,
    frame: PatchFrame,
    centres: Tensor,
    matrices: Tensor | None,
    gradient: bool,
) -> PatchValues:
    """Look patches up at `centre + matrix @ offset`.

    `centres` `(P, D)` are world mm, `matrices` `(P, D, D)`, the identity when omitted; float32. `gradient` tells
    whether `patches_gradient` will be asked for.
    """
    native = library()
    assert native is not None
    if data.ndim != frame.dimension:
        raise TypeError(f"voxels: a kernel expected a {frame.dimension}-D array, as the patches are, got {data.ndim}-D")
    centres = plain(centres)
    matrices = None if matrices is None else plain(matrices)
    count, dimension = centres.shape[0], data.ndim
    values, into_values = allocate(centres, (count, frame.samples))
    gradients, into_gradients = allocate(centres, (count, dimension, frame.samples)) if gradient else (None, None)
    inside, into_inside = allocate(centres, (count,))
    if native.nephi_patches(
        ctypes.byref(_volume_to_interpolate(data, window)),
        ctypes.byref(frame.structure),
        count,
        address(centres, "centres", (count, dimension)),
        None if matrices is None else address(matrices, "matrices", (count, dimension, dimension)),
        into_values,
        into_gradients,
        into_inside,
    ):
        raise MemoryError("no memory for the cells of a patch")
    return PatchValues(values, gradients, inside)


def patches_gradient(
    frame: PatchFrame, gradients: Tensor, by_values: Tensor, of_matrices: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of centres `(P, D)` and, if wanted, matrices `(P, D, D)`, given those of the values."""
    native = library()
    assert native is not None
    count, dimension, samples = gradients.shape[0], frame.dimension, frame.samples
    by_values = by_values.contiguous()
    by_centres, into_centres = allocate(gradients, (count, dimension))
    by_matrices, into_matrices = allocate(gradients, (count, dimension, dimension)) if of_matrices else (None, None)
    native.nephi_patches_gradient(
        ctypes.byref(frame.structure),
        dimension,
        count,
        address(gradients, "gradients", (count, dimension, samples)),
        address(by_values, "by_values", (count, samples)),
        into_centres,
        into_matrices,
    )
    return by_centres, by_matrices


def _volume_to_interpolate(data: Tensor, window: Window | None) -> Volume:
    if _last_voxel(data) >= MOST_VOXELS:
        raise TypeError(f"voxels: a kernel expected fewer than {MOST_VOXELS}, got strides {data.stride()}")
    return volume_of(data, window)


def _last_voxel(data: Tensor) -> int:
    """Return how many voxels lie between the first and the last one in memory."""
    return sum((size - 1) * step for size, step in zip(data.shape, data.stride(), strict=True))
