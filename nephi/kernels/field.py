"""Calling the kernel of neural fields: latent grids, one hidden SiLU layer, a linear read-out."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

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


class FieldArrays:
    """A field as the kernel reads it: contiguous float32 tensors in main memory, sizes in int64.

    cells: `(L, D)` cells of each level; starts: `(L,)` first table rows. to_unit `(D, D)` and offset `(D,)` take world
    mm to the unit cube; amplitude `(D, D)` takes outputs to world mm. parameters: table `(rows, C)`, C a multiple of 4,
    weights and biases of the hidden layer `(H, L C)`, `(H,)` and of the last one `(D, H)`, `(D,)`.
    """

    def __init__(
        self,
        cells: Tensor,
        starts: Tensor,
        to_unit: Tensor,
        offset: Tensor,
        amplitude: Tensor,
        parameters: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    ) -> None:
        levels, dimension = cells.shape
        self._fixed = (cells, starts, to_unit, offset, amplitude)  # kept, for their addresses are
        self.parameters = parameters
        self.in_place = False  # see fields.compiled.gradients_in_place
        sizes = (dimension, levels, parameters[0].shape[1], len(parameters[1]))
        self._structure = _Field(*sizes, *(tensor.data_ptr() for tensor in self._fixed))

    def gradients(self) -> list[Tensor]:
        """Return what gradients are added to: `.grad`, and for a parameter held fixed a tensor nobody reads."""
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]

    def structure(self) -> _Field:
        """Return the structure with the parameters' addresses of now: an optimiser may have moved them."""
        structure, parameters = self._structure, self.parameters
        structure.table = parameters[0].data_ptr()
        structure.first, structure.first_bias = parameters[1].data_ptr(), parameters[2].data_ptr()
        structure.last, structure.last_bias = parameters[3].data_ptr(), parameters[4].data_ptr()
        return structure


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
    structure = ctypes.byref(field.structure())
    addresses = points.data_ptr(), moved.data_ptr(), 0 if slopes is None else slopes.data_ptr()
    row = 4 * dimension  # bytes of a point

    def work(start: int, stop: int) -> None:
        source, into, slope = addresses
        failed = native.nephi_field(
            structure,
            stop - start,
            source + row * start,
            into + row * start,
            slope + dimension * row * start if slope else None,
        )
        if failed:
            raise MemoryError("no memory for a block of points")

    if count:
        over_points(work, count)
    return moved, slopes


def field_inverse(
    field: FieldArrays, points: Tensor, start: Tensor, tolerance: float, visits: int
) -> tuple[Tensor, Tensor]:
    """Return displacements v `(N, D)` with `y + v` the point that the field takes to y, and bounds of the error `(N,)`.

    All in mm. `points` y and the `start` of v are `(N, D)` float32, world mm. Broyden's method, at most `visits`
    evaluations a point; where the error exceeds `tolerance` it did not succeed.
    """
    native = library()
    assert native is not None
    points = points.detach().contiguous()
    found = start.detach().clone(memory_format=torch.contiguous_format)
    error = points.new_empty(len(points))
    structure = ctypes.byref(field.structure())
    addresses = points.data_ptr(), found.data_ptr(), error.data_ptr()
    row = 4 * points.shape[1]  # bytes of a point

    def work(begin: int, stop: int) -> None:
        source, into, left = addresses
        places = source + row * begin, into + row * begin, left + 4 * begin
        if native.nephi_invert(structure, stop - begin, *places, tolerance, visits):
            raise MemoryError("no memory for a block of points")

    if len(points):
        over_points(work, len(points))
    return found, error


def field_gradient(
    field: FieldArrays,
    points: Tensor,
    by_displacement: Tensor | None,
    by_jacobian: Tensor | None,
    of_points: bool,
    sums: Sequence[Tensor],
) -> Tensor | None:
    """Return the gradient of the points (if wanted), given those of displacements and Jacobians.

    Those of the parameters are added to `sums`, contiguous float32 tensors of the parameters' shapes.
    """
    native = library()
    assert native is not None
    points = points.detach().contiguous()
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
    return by_points
