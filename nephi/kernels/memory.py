"""Addresses of tensors for C, each verified before it is passed on.

C does not know the type, shape, memory order and device behind a pointer: a tensor with others would be read as garbage
or written beyond its end. `address` verifies all four, `allocate` returns a suitable new tensor, and no other module
takes an address (a test reads the sources). A `TypeError` from here is a fault of nephi, not of the user's data:
whether a kernel supports the data is decided before (`can_interpolate`, `can_compare`, ...).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

Shape = tuple[int, ...]


def address(tensor: Tensor, name: str, shape: Shape, dtype: torch.dtype = torch.float32) -> int:
    """Return the address of a contiguous tensor of this shape and type in main memory.

    It is valid as long as the tensor's memory exists. Raises `TypeError` naming the argument for any other tensor.
    """
    if tensor.dtype is not dtype or tensor.shape != shape or not tensor.is_cpu or not tensor.is_contiguous():
        raise _error(tensor, name, shape, dtype)
    pointer = tensor.data_ptr()
    if pointer & 3:  # C requires arrays of 4-byte numbers at multiples of 4
        raise _error(tensor, name, shape, dtype)
    return pointer


class AddressFields:
    """Fields of a C structure that hold the addresses of float32 tensors of fixed shapes.

    For tensors whose memory may change between two calls, as that of parameters under an optimiser. A fit makes about
    ten calls a step with five tensors each: an unchanged address is verified but not written again.
    """

    def __init__(self, structure: ctypes.Structure, names: Sequence[str], shapes: Sequence[Shape]) -> None:
        self._structure = structure
        self._expected = tuple(zip(names, shapes, strict=True))
        self._addresses = [-1] * len(names)

    def fill(self, tensors: Sequence[Tensor]) -> None:
        """Write the current addresses of `tensors` into the structure. Raises `TypeError` as `address` does."""
        addresses = self._addresses
        for index, (name, shape) in enumerate(self._expected):
            tensor = tensors[index]
            if (
                tensor.data_ptr() != addresses[index]
                or tensor.shape != shape
                or tensor.dtype is not torch.float32
                or not tensor.is_contiguous()
            ):
                addresses[index] = -1  # remains where the next line raises
                pointer = address(tensor, name, shape)
                setattr(self._structure, name, pointer)
                addresses[index] = pointer


def allocate(like: Tensor, shape: Shape) -> tuple[Tensor, int]:
    """Return a new uninitialised tensor of the type and device of `like`, and its address.

    Raises `TypeError` unless `like` is float32 in main memory.
    """
    tensor = like.new_empty(*shape)  # faster than new_empty(shape) by a third
    if tensor.dtype is not torch.float32 or not tensor.is_cpu:
        raise _error(tensor, "result", shape, torch.float32)
    return tensor, tensor.data_ptr()


def plain(tensor: Tensor) -> Tensor:
    """Return the tensor detached, contiguous, and without a lazy negative sign (`resolve_neg`)."""
    detached = tensor.detach()
    return detached.resolve_neg().contiguous() if detached.is_neg() else detached.contiguous()


def voxel_address(data: Tensor, types: Sequence[torch.dtype]) -> tuple[int, int]:
    """Return the address of the first voxel of a 2-D or 3-D array of any strides, and the index of its type in `types`.

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
        and data.data_ptr() % data.dtype.itemsize == 0  # alignment that C requires
    )


def _error(tensor: Tensor, name: str, shape: Shape, dtype: torch.dtype) -> TypeError:
    expected = f"{str(dtype).removeprefix('torch.')} {tuple(shape)}, contiguous, in main memory"
    return TypeError(f"{name}: expected a tensor of {expected}, got {_description(tensor)}")


def _description(tensor: Tensor) -> str:
    strides = f", strides {tensor.stride()}" if tensor.layout is torch.strided else f", {tensor.layout}"
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}{strides}, on {tensor.device}"
