"""The only way from a tensor to an address that C reads or writes.

C cannot see what lies behind a pointer: a tensor of another type, shape, memory order or device would be read as
garbage, or written beyond its end. `address` checks all of it, `allocate` returns memory that is right from the start,
and no other module takes an address (a test reads the sources). What they refuse is a mistake in nephi: whether a
kernel serves a user's data is decided before (`can_interpolate`, `can_compare`, ...).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

Shape = tuple[int, ...]


def address(tensor: Tensor, name: str, shape: Shape, dtype: torch.dtype = torch.float32) -> int:
    """Return the address of a contiguous tensor of this shape and type in main memory.

    It holds as long as the tensor's memory does. Raises `TypeError` naming the argument for any other tensor.
    """
    if tensor.dtype is not dtype or tensor.shape != shape or not tensor.is_cpu or not tensor.is_contiguous():
        raise _refused(tensor, name, shape, dtype)
    found = tensor.data_ptr()
    if found & 3:  # C's arrays of numbers begin at multiples of 4
        raise _refused(tensor, name, shape, dtype)
    return found


class Fields:
    """The fields of a C structure that hold the addresses of float32 tensors of fixed shapes.

    For tensors whose memory may be exchanged between two calls, as an optimiser does with parameters. A fit makes some
    ten calls a step with five tensors each: what has not moved is verified without being written again.
    """

    def __init__(self, structure: ctypes.Structure, names: Sequence[str], shapes: Sequence[Shape]) -> None:
        self._structure = structure
        self._expected = tuple(zip(names, shapes, strict=True))
        self._addresses = [-1] * len(names)

    def fill(self, tensors: Sequence[Tensor]) -> None:
        """Write the addresses of now. Raises `TypeError` as `address` does."""
        known = self._addresses
        for place, (name, shape) in enumerate(self._expected):
            tensor = tensors[place]
            if (
                tensor.data_ptr() != known[place]
                or tensor.shape != shape
                or tensor.dtype is not torch.float32
                or not tensor.is_contiguous()
            ):
                known[place] = -1  # also where the next line raises
                found = address(tensor, name, shape)
                setattr(self._structure, name, found)
                known[place] = found


def allocate(like: Tensor, shape: Shape) -> tuple[Tensor, int]:
    """Return a new float32 tensor in main memory, not filled, and its address; `like` is another one.

    Raises `TypeError` where that one has another type or place.
    """
    tensor = like.new_empty(*shape)  # takes two thirds of the time of new_empty(shape)
    if tensor.dtype is not torch.float32 or not tensor.is_cpu:
        raise _refused(tensor, "result", shape, torch.float32)
    return tensor, tensor.data_ptr()


def plain(tensor: Tensor) -> Tensor:
    """Return a tensor from outside without history, contiguous, and with its signs written out (`resolve_neg`)."""
    detached = tensor.detach()
    return detached.resolve_neg().contiguous() if detached.is_neg() else detached.contiguous()


def voxel_address(data: Tensor, types: Sequence[torch.dtype]) -> tuple[int, int]:
    """Return the address of the first voxel of a 2-D or 3-D array of any strides, and the place of its type in `types`.

    Raises `TypeError` for another array.
    """
    if not is_readable(data, types):
        allowed = " or ".join(str(dtype).removeprefix("torch.") for dtype in types)
        raise TypeError(f"voxels: expected a 2-D or 3-D array of {allowed} in main memory, got {_description(data)}")
    return data.data_ptr(), types.index(data.dtype)


def is_readable(data: Tensor, types: Sequence[torch.dtype]) -> bool:
    """Return whether `voxel_address` accepts an array."""
    return (
        data.dtype in types
        and data.ndim in (2, 3)
        and data.is_cpu
        and data.layout is torch.strided
        and not data.is_neg()
        and data.data_ptr() % data.dtype.itemsize == 0  # vectors of C are read from multiples of it
    )


def _refused(tensor: Tensor, name: str, shape: Shape, dtype: torch.dtype) -> TypeError:
    wanted = f"{str(dtype).removeprefix('torch.')} {tuple(shape)}, contiguous, in main memory"
    return TypeError(f"{name}: a kernel expected a tensor of {wanted}, got {_description(tensor)}")


def _description(tensor: Tensor) -> str:
    strides = f", strides {tensor.stride()}" if tensor.layout is torch.strided else f", {tensor.layout}"
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}{strides}, on {tensor.device}"
