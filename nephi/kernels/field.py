"""Calling the kernel of neural fields: latent grids, one hidden SiLU layer, a linear read-out."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from nephi.kernels.library import library, over_points
from nephi.kernels.memory import Fields, address, allocate, plain

PARAMETERS = ("table", "first", "first_bias", "last", "last_bias")


class _Field(ctypes.Structure):
    """`Field` of field.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("dimension", "levels", "channels", "hidden")),
        *((name, ctypes.c_void_p) for name in ("cells", "starts", "to_unit", "offset", "amplitude")),
        *((name, ctypes.c_void_p) for name in PARAMETERS),
    )


class _FieldGradient(ctypes.Structure):
    """`FieldGradient` of field.h."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in PARAMETERS)


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
        self.dimension = dimension
        self.parameters = parameters
        self.in_place = False  # see fields.compiled.gradients_in_place
        rows, channels, hidden = *parameters[0].shape, len(parameters[1])
        shapes = (rows, channels), (hidden, levels * channels), (hidden,), (dimension, hidden), (dimension,)
        needed = int((starts + (cells + 1).prod(dim=1)).max())
        if dimension not in (2, 3) or channels % 4 or rows < needed:
            raise TypeError(
                f"table: a kernel expected {needed} rows or more of a multiple of 4 channels in 2-D or 3-D, got "
                f"{rows} of {channels} in {dimension}-D"
            )
        self._fixed = (cells, starts, to_unit, offset, amplitude)  # kept, for their addresses are
        self._structure = _Field(
            dimension,
            levels,
            channels,
            hidden,
            address(cells, "cells", (levels, dimension), torch.int64),
            address(starts, "starts", (levels,), torch.int64),
            address(to_unit, "to_unit", (dimension, dimension)),
            address(offset, "offset", (dimension,)),
            address(amplitude, "amplitude", (dimension, dimension)),
        )
        self._shapes = shapes
        self._fields = Fields(self._structure, PARAMETERS, shapes)
        self.structure()

    def gradients(self) -> list[Tensor]:
        """Return what gradients are added to: `.grad`, and for a parameter held fixed a tensor nobody reads."""
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]

    def structure(self) -> _Field:
        """Return the structure with the parameters' addresses of now: an optimiser may have moved them."""
        self._fields.fill(self.parameters)
        return self._structure

    def sums(self, tensors: Sequence[Tensor]) -> _FieldGradient:
        """Return the structure of the tensors that gradients are added to, each of its parameter's shape."""
        given = zip(PARAMETERS, tensors, self._shapes, strict=True)
        return _FieldGradient(*[address(tensor, name, shape) for name, tensor, shape in given])


def field_values(field: FieldArrays, points: Tensor, jacobian: bool) -> tuple[Tensor, Tensor | None]:
    """Return displacements `(N, D)`, mm, and if wanted Jacobians `(N, D, D)` of `x + displacement`, float32.

    `points` are `(N, D)` float32 world mm.
    """
    native = library()
    assert native is not None
    points, count, dimension = plain(points), points.shape[0], field.dimension
    moved, into_moved = allocate(points, (count, dimension))
    slopes, into_slopes = allocate(points, (count, dimension, dimension)) if jacobian else (None, 0)
    structure = ctypes.byref(field.structure())
    addresses = address(points, "points", (count, dimension)), into_moved, into_slopes
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
    points, shape = plain(points), (points.shape[0], field.dimension)
    found = plain(start).clone()
    error, into_error = allocate(points, shape[:1])
    structure = ctypes.byref(field.structure())
    addresses = address(points, "points", shape), address(found, "start", shape), into_error
    row = 4 * field.dimension  # bytes of a point

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
    points, shape = plain(points), (points.shape[0], field.dimension)
    by_points, into_points = allocate(points, shape) if of_points else (None, None)
    moved, slopes = (None if given is None else given.contiguous() for given in (by_displacement, by_jacobian))
    if shape[0] and native.nephi_field_gradient(
        ctypes.byref(field.structure()),
        ctypes.byref(field.sums(sums)),
        shape[0],
        address(points, "points", shape),
        None if moved is None else address(moved, "by_displacement", shape),
        None if slopes is None else address(slopes, "by_jacobian", (*shape, field.dimension)),
        into_points,
    ):
        raise MemoryError("no memory for a block of points")
    return by_points
