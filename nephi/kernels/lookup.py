"""Calling the kernel that looks images up."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from nephi.kernels.library import library, over_points
from nephi.kernels.volume import Window, is_readable, volume_of

MOST_VOXELS = 2**31  # the kernels count them in 32 bits


class _Patches(ctypes.Structure):
    """`Patches` of lookup.c."""

    _fields_ = (
        ("to_voxel", ctypes.c_void_p),
        ("origin", ctypes.c_void_p),
        ("samples", ctypes.c_int64),
        ("offsets", ctypes.c_void_p),
    )


class LookedUp(NamedTuple):
    """Values `(P, K)` of patches, what `patches_gradient` needs, and 1 for centres inside the image, else 0, `(P,)`."""

    values: Tensor
    gradients: Tensor | None
    inside: Tensor


class PatchFrame:
    """Where the samples of patches lie: world mm to voxels, `to_voxel @ x + origin`, and `offsets` `(K, D)` in mm."""

    def __init__(self, to_voxel: Tensor, origin: Tensor, offsets: Tensor) -> None:
        self._kept = tuple(tensor.float().contiguous() for tensor in (to_voxel, origin, offsets))
        self.samples = len(offsets)
        first, second, third = (tensor.data_ptr() for tensor in self._kept)
        self.structure = _Patches(first, second, self.samples, third)


def can_look_up(data: Tensor, points_voxel: Tensor) -> bool:
    """Tell whether the kernel serves these voxels and points."""
    last = sum((size - 1) * step for size, step in zip(data.shape, data.stride(), strict=True))
    fits = points_voxel.dtype == torch.float32 and data.ndim == points_voxel.shape[-1] and last < MOST_VOXELS
    return fits and is_readable(data) and library() is not None


def look_up(data: Tensor, points_voxel: Tensor, window: Window | None, gradient: bool) -> tuple[Tensor, Tensor | None]:
    """Return the multilinear values `(...)` at voxel points `(..., D)`, and if wanted the gradients `(..., D)`.

    The window's `(low, high)` become (0, 1), values beyond are clamped (there the gradient is 0). Any strides.
    """
    native = library()
    assert native is not None
    points = points_voxel.detach().contiguous()
    values = points.new_empty(points.shape[:-1])
    gradients = torch.empty_like(points) if gradient else None
    volume = volume_of(data, window, data.shape, data.stride())
    flat, step = points.data_ptr(), 4 * data.ndim

    def work(start: int, stop: int) -> None:
        into = None if gradients is None else gradients.data_ptr() + step * start
        native.nephi_lookup(
            ctypes.byref(volume), stop - start, flat + step * start, values.data_ptr() + 4 * start, into
        )

    over_points(work, values.numel())
    return values, gradients


def look_up_patches(
    data: Tensor,
    window: Window | None,
    frame: PatchFrame,
    centres: Tensor,
    matrices: Tensor | None,
    gradient: bool,
) -> LookedUp:
    """Look patches up at `centre + matrix @ offset`.

    `centres` `(P, D)` are world mm, `matrices` `(P, D, D)`, the identity when omitted; float32. `gradient` tells
    whether `patches_gradient` will be asked for.
    """
    native = library()
    assert native is not None
    centres = centres.detach().contiguous()
    matrices = None if matrices is None else matrices.detach().contiguous()
    count, dimension = centres.shape
    values = centres.new_empty(count, frame.samples)
    gradients = centres.new_empty(count, dimension, frame.samples) if gradient else None
    inside = centres.new_empty(count)
    given = centres, matrices, values, gradients, inside
    addresses = (None if tensor is None else tensor.data_ptr() for tensor in given)
    volume, patches = ctypes.byref(volume_of(data, window, data.shape, data.stride())), ctypes.byref(frame.structure)
    if native.nephi_patches(volume, patches, count, *addresses):
        raise MemoryError("no memory for the cells of a patch")
    return LookedUp(values, gradients, inside)


def patches_gradient(
    frame: PatchFrame, gradients: Tensor, by_values: Tensor, of_matrices: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of centres `(P, D)` and, if wanted, matrices `(P, D, D)`, given those of the values."""
    native = library()
    assert native is not None
    count, dimension, _ = gradients.shape
    by_values = by_values.contiguous()
    by_centres = gradients.new_empty(count, dimension)
    by_matrices = gradients.new_empty(count, dimension, dimension) if of_matrices else None
    native.nephi_patches_gradient(
        ctypes.byref(frame.structure),
        dimension,
        count,
        gradients.data_ptr(),
        by_values.data_ptr(),
        by_centres.data_ptr(),
        None if by_matrices is None else by_matrices.data_ptr(),
    )
    return by_centres, by_matrices
