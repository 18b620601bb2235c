"""Calling the kernel of neural fields: latent grids, one hidden SiLU layer, a linear read-out."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.kernels.library import library, over_points


class _Field(ctypes.Structure):
    """`Field` of field.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("dimension", "levels", "channels", "hidden")),
        *((name, ctypes.c_void_p) for name in ("cells", "starts", "to_unit", "offset", "amplitude")),
        *((name, ctypes.c_void_p) for name in ("table", "first", "first_bias", "last", "last_bias")),
    )


class _FieldGradient(ctypes.Structure):
    """`FieldGradient` of field.h."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("table", "first", "first_bias", "last", "last_bias"))


@dataclass(frozen=True)
class FieldArrays:
    """A field as the kernel reads it: contiguous float32 tensors in main memory, sizes in int64.

    cells: `(L, D)` cells of each level; starts: `(L,)` first table rows. to_unit `(D, D)` and offset `(D,)` take world
    mm to the unit cube; amplitude `(D, D)` takes outputs to world mm. parameters: table `(rows, C)`, C a multiple of 4,
    weights and biases of the hidden layer `(H, L C)`, `(H,)` and of the last one `(D, H)`, `(D,)`.
    """

    cells: Tensor
    starts: Tensor
    to_unit: Tensor
    offset: Tensor
    amplitude: Tensor
    parameters: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]

    def structure(self) -> _Field:
        """Return the addresses of now: an optimiser may have moved the parameters."""
        levels, dimension = self.cells.shape
        fixed = (self.cells, self.starts, self.to_unit, self.offset, self.amplitude)
        addresses = (tensor.data_ptr() for tensor in (*fixed, *self.parameters))
        return _Field(dimension, levels, self.parameters[0].shape[1], len(self.parameters[1]), *addresses)


def field_values(field: FieldArrays, points: Tensor, jacobian: bool) -> tuple[Tensor, Tensor | None]:
    """Return displacements `(N, D)`, mm, and if wanted Jacobians `(N, D, D)` of `x + displacement`, float32.

    `points` are `(N, D)` float32 world mm.
    """
    native = library()
    assert native is not None
    points = points.detach().contiguous()
    count, dimension = points.shape
    moved = torch.empty_like(points)
    slopes = points.new_empty(count, dimension, dimension) if jacobian else None
    structure = field.structure()

    def work(start: int, stop: int) -> None:
        into = None if slopes is None else slopes[start:].data_ptr()
        failed = native.nephi_field(
            ctypes.byref(structure), stop - start, points[start:].data_ptr(), moved[start:].data_ptr(), into
        )
        if failed:
            raise MemoryError("no memory for a block of points")

    if count:
        over_points(work, count)
    return moved, slopes


def field_gradient(
    field: FieldArrays, points: Tensor, by_displacement: Tensor | None, by_jacobian: Tensor | None, of_points: bool
) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    """Return the gradients of points (if wanted) and parameters, given those of displacements and Jacobians."""
    native = library()
    assert native is not None
    points = points.detach().contiguous()
    sums = tuple(torch.zeros_like(parameter) for parameter in field.parameters)
    by_points = torch.empty_like(points) if of_points else None
    up = [None if given is None else given.contiguous() for given in (by_displacement, by_jacobian)]
    if len(points) and native.nephi_field_gradient(
        ctypes.byref(field.structure()),
        ctypes.byref(_FieldGradient(*(total.data_ptr() for total in sums))),
        len(points),
        points.data_ptr(),
        *(None if given is None else given.data_ptr() for given in (*up, by_points)),
    ):
        raise MemoryError("no memory for a block of points")
    return by_points, sums
