"""Calling the kernel that surveys a mask."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from nephi.kernels.library import library
from nephi.kernels.memory import address
from nephi.kernels.volume import memory_order, volume_in_order


def survey(data: Tensor) -> list[Tensor]:
    """Return for each axis how many voxels above 0 each slice across it holds, `(shape[axis],)`, int64."""
    native = library()
    assert native is not None
    order = memory_order(data)
    source = volume_in_order(data, None, order)
    counts = torch.zeros(sum(source.shape), dtype=torch.int64, device="cpu")
    if native.nephi_survey(ctypes.byref(source), address(counts, "counts", (len(counts),), torch.int64)):
        raise MemoryError("no memory to survey a mask in")
    slow, middle, fast = counts.split(list(source.shape))
    ordered = [slow, middle, fast] if data.ndim == 3 else [slow, fast]
    return [ordered[order.index(axis)] for axis in range(data.ndim)]
