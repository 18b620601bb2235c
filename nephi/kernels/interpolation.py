"""Call of the interpolation kernel: values and gradients of an image at points and on patches."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from nephi.kernels.library import library, threads
from nephi.kernels.memory import address, allocate, plain
from nephi.kernels.volume import Volume, Window, is_readable, volume_of

MOST_VOXELS = 2**31  # the kernels index voxels with 32 bits


class _Patches(ctypes.Structure):
    """`Patches` of patches.h."""

    _fields_ = (
        ("to_voxel", ctypes.c_void_p),
        ("origin", ctypes.c_void_p),
        ("samples", ctypes.c_int64),
        ("offsets", ctypes.c_void_p),
    )


class PatchValues(NamedTuple):
    """Values of patches `(P, K)`, their gradients for `patches_gradient`, and which centres lie inside the image.

    `gradients` `(P, D, K)` are None where they were not requested; `inside` `(P,)` is 1 inside and 0 outside.
    """

    values: Tensor
    gradients: Tensor | None
    inside: Tensor


class PatchFrame:
    """Voxel frame of an image, `to_voxel @ x + origin` for world mm x, and sample offsets `(K, D)` of patches, mm."""

    def __init__(self, to_voxel: Tensor, origin: Tensor, offsets: Tensor) -> None:
        to_voxel, origin, offsets = (tensor.float().contiguous() for tensor in (to_voxel, origin, offsets))
        self._tensors = to_voxel, origin, offsets  # kept alive, as `structure` holds only their addresses
        self.samples, self.dimension = offsets.shape
        self.structure = _Patches(
            address(to_voxel, "to_voxel", (self.dimension, self.dimension)),
            address(origin, "origin", (self.dimension,)),
            self.samples,
            address(offsets, "offsets", (self.samples, self.dimension)),
        )


def can_interpolate(data: Tensor, points_voxel: Tensor) -> bool:
    """Return whether the kernel supports these voxels and points."""
    supported = points_voxel.dtype == torch.float32 and points_voxel.is_cpu and data.ndim == points_voxel.shape[-1]
    return supported and library() is not None and is_readable(data) and _last_voxel(data) < MOST_VOXELS


def interpolate(
    data: Tensor, points_voxel: Tensor, window: Window | None, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the multilinear values `(...)` at voxel points `(..., D)`, with `gradient` also the gradients `(..., D)`.

    The window's `(low, high)` become (0, 1); values beyond are clamped and have gradient 0. Any strides of `data`.
    """
    native = library()
    assert native is not None
    points = plain(points_voxel)
    shape = *points.shape[:-1], data.ndim
    values, values_address = allocate(points, shape[:-1])
    gradients, gradients_address = allocate(points, shape) if gradient else (None, None)
    native.nephi_interpolate(
        ctypes.byref(volume_to_interpolate(data, window)),
        values.numel(),
        address(points, "points_voxel", shape),
        values_address,
        gradients_address,
        threads(),
    )
    return values, gradients


def interpolate_patches(
    data: Tensor,
    window: Window | None,
    frame: PatchFrame,
    centres: Tensor,
    matrices: Tensor | None,
    gradient: bool,
) -> PatchValues:
    """Interpolate patches at `centre + matrix @ offset`.

    `centres` `(P, D)` are world mm, `matrices` `(P, D, D)`, None for the identity; float32. `gradient` computes what
    `patches_gradient` needs.
    """
    native = library()
    assert native is not None
    if data.ndim != frame.dimension:
        raise TypeError(f"voxels: expected a {frame.dimension}-D array like the patches, got {data.ndim}-D")
    centres = plain(centres)
    matrices = None if matrices is None else plain(matrices)
    count, dimension = centres.shape[0], data.ndim
    values, values_address = allocate(centres, (count, frame.samples))
    gradients, gradients_address = allocate(centres, (count, dimension, frame.samples)) if gradient else (None, None)
    inside, inside_address = allocate(centres, (count,))
    if native.nephi_interpolate_patches(
        ctypes.byref(volume_to_interpolate(data, window)),
        ctypes.byref(frame.structure),
        count,
        address(centres, "centres", (count, dimension)),
        None if matrices is None else address(matrices, "matrices", (count, dimension, dimension)),
        values_address,
        gradients_address,
        inside_address,
        threads(),
    ):
        raise MemoryError("not enough memory for the cells of a patch")
    return PatchValues(values, gradients, inside)


def patches_gradient(
    frame: PatchFrame, gradients: Tensor, by_values: Tensor, of_matrices: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients with respect to centres `(P, D)` and, with `of_matrices`, to matrices `(P, D, D)`.

    `gradients` are those of `PatchValues`, `by_values` `(P, K)` the gradient with respect to its values.
    """
    native = library()
    assert native is not None
    count, dimension, samples = gradients.shape[0], frame.dimension, frame.samples
    by_values = by_values.contiguous()
    by_centres, centres_address = allocate(gradients, (count, dimension))
    by_matrices, matrices_address = allocate(gradients, (count, dimension, dimension)) if of_matrices else (None, None)
    native.nephi_patches_gradient(
        ctypes.byref(frame.structure),
        dimension,
        count,
        address(gradients, "gradients", (count, dimension, samples)),
        address(by_values, "by_values", (count, samples)),
        centres_address,
        matrices_address,
        threads(),
    )
    return by_centres, by_matrices


def volume_to_interpolate(data: Tensor, window: Window | None) -> Volume:
    """Return the structure of `data`; raise `TypeError` if it spans too much memory for the kernels' indices."""
    if _last_voxel(data) >= MOST_VOXELS:
        raise TypeError(
            f"voxels: expected an array that spans fewer than {MOST_VOXELS} voxels of memory, "
            f"got shape {tuple(data.shape)}, strides {data.stride()}"
        )
    return volume_of(data, window)


def _last_voxel(data: Tensor) -> int:
    """Return the position in memory of the last voxel, counted in voxels from the first one."""
    return sum((size - 1) * step for size, step in zip(data.shape, data.stride(), strict=True))
