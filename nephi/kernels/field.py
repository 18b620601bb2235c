"""Call of the kernel of neural fields: latent grids, one hidden SiLU layer, a linear output layer."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from nephi.kernels.library import library, threads
from nephi.kernels.memory import AddressFields, address, allocate, plain

PARAMETERS = ("table", "first", "first_bias", "last", "last_bias")


class _Field(ctypes.Structure):
    """`Field` of field.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("dimension", "levels", "channels", "hidden", "degree")),
        *((name, ctypes.c_void_p) for name in ("cells", "starts", "to_unit", "offset", "amplitude")),
        *((name, ctypes.c_void_p) for name in PARAMETERS),
    )


class _FieldGradient(ctypes.Structure):
    """`FieldGradient` of field.h."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in PARAMETERS)


class FieldArrays:
    """The arrays of a field that the kernel reads: contiguous float32 tensors in main memory, sizes in int64.

    degree: 1 for linear interpolation of the latent grids, 2 or 3 for quadratic or cubic B-splines.
    cells: `(L, D)`, number of cells of each level along each axis, which has as many nodes and `degree` more; starts:
    `(L,)`, first table row of each level.
    to_unit `(D, D)` and offset `(D,)` map world mm to the unit cube; amplitude `(D, D)` maps network outputs to world
    mm. parameters: table `(rows, C)`, C a multiple of 4, weights and biases of the hidden layer `(H, L C)`, `(H,)` and
    of the output layer `(D, H)`, `(D,)`.
    """

    def __init__(
        self,
        cells: Tensor,
        starts: Tensor,
        to_unit: Tensor,
        offset: Tensor,
        amplitude: Tensor,
        parameters: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
        degree: int = 1,
    ) -> None:
        levels, dimension = cells.shape
        self.dimension = dimension
        self.parameters = parameters
        self.in_place = False  # see fields.compiled.gradients_in_place
        rows, channels, hidden = *parameters[0].shape, len(parameters[1])
        shapes = (rows, channels), (hidden, levels * channels), (hidden,), (dimension, hidden), (dimension,)
        needed = int((starts + (cells + degree).prod(dim=1)).max())
        if dimension not in (2, 3) or channels % 4 or rows < needed:
            raise TypeError(
                f"table: expected at least {needed} rows, a multiple of 4 channels, and 2-D or 3-D, got {rows} rows of "
                f"{channels} channels in {dimension}-D"
            )
        if degree not in (1, 2, 3):
            raise TypeError(f"degree: expected 1, 2 or 3, got {degree}")
        self._tensors = (cells, starts, to_unit, offset, amplitude)  # kept alive, as only their addresses are stored
        self._structure = _Field(
            dimension,
            levels,
            channels,
            hidden,
            degree,
            address(cells, "cells", (levels, dimension), torch.int64),
            address(starts, "starts", (levels,), torch.int64),
            address(to_unit, "to_unit", (dimension, dimension)),
            address(offset, "offset", (dimension,)),
            address(amplitude, "amplitude", (dimension, dimension)),
        )
        self._shapes = shapes
        self._parameter_fields = AddressFields(self._structure, PARAMETERS, shapes)
        self.structure()

    def gradients(self) -> list[Tensor]:
        """Return the tensors to add gradients to: `.grad`, or a discarded tensor for a parameter that is held fixed."""
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]

    def structure(self) -> _Field:
        """Return the structure with the current addresses of the parameters, which an optimiser may have changed."""
        self._parameter_fields.fill(self.parameters)
        return self._structure

    def gradient_structure(self, tensors: Sequence[Tensor]) -> _FieldGradient:
        """Return the structure of the tensors that gradients are added to, each of the shape of its parameter."""
        named = zip(PARAMETERS, tensors, self._shapes, strict=True)
        return _FieldGradient(*[address(tensor, name, shape) for name, tensor, shape in named])


def field_values(field: FieldArrays, points: Tensor, jacobian: bool) -> tuple[Tensor, Tensor | None]:
    """Return displacements `(N, D)`, mm, and with `jacobian` the Jacobians `(N, D, D)` of `x + displacement`, float32.

    `points` are `(N, D)` float32 world mm.
    """
    native = library()
    assert native is not None
    points, count, dimension = plain(points), points.shape[0], field.dimension
    displacements, displacements_address = allocate(points, (count, dimension))
    jacobians, jacobians_address = allocate(points, (count, dimension, dimension)) if jacobian else (None, None)
    if count and native.nephi_field(
        ctypes.byref(field.structure()),
        count,
        address(points, "points", (count, dimension)),
        displacements_address,
        jacobians_address,
        threads(),
    ):
        raise MemoryError("not enough memory for a block of points")
    return displacements, jacobians


def field_inverse(
    field: FieldArrays, points: Tensor, start: Tensor, tolerance: float, evaluations: int
) -> tuple[Tensor, Tensor]:
    """Invert the field: return displacements v `(N, D)` with `phi(y + v) = y`, and error bounds `(N,)`, all in mm.

    `points` y and the initial guess `start` of v are `(N, D)` float32, world mm. Uses Broyden's method with at most
    `evaluations` evaluations a point; an error bound above `tolerance` means that it did not converge.
    """
    native = library()
    assert native is not None
    points, shape = plain(points), (points.shape[0], field.dimension)
    displacements = plain(start).clone()
    errors, errors_address = allocate(points, shape[:1])
    if len(points) and native.nephi_invert(
        ctypes.byref(field.structure()),
        len(points),
        address(points, "points", shape),
        address(displacements, "start", shape),
        errors_address,
        tolerance,
        evaluations,
        threads(),
    ):
        raise MemoryError("not enough memory for a block of points")
    return displacements, errors


def field_gradient(
    field: FieldArrays,
    points: Tensor,
    by_displacement: Tensor | None,
    by_jacobian: Tensor | None,
    of_points: bool,
    sums: Sequence[Tensor],
) -> Tensor | None:
    """Return the gradient with respect to the points, None without `of_points`, and add those of the parameters.

    `by_displacement` `(N, D)` and `by_jacobian` `(N, D, D)` are the gradients with respect to the results of
    `field_values`, None for 0. `sums` are contiguous float32 tensors of the parameters' shapes.
    """
    native = library()
    assert native is not None
    points, shape = plain(points), (points.shape[0], field.dimension)
    by_points, by_points_address = allocate(points, shape) if of_points else (None, None)
    by_displacement = None if by_displacement is None else by_displacement.contiguous()
    by_jacobian = None if by_jacobian is None else by_jacobian.contiguous()
    if shape[0] and native.nephi_field_gradient(
        ctypes.byref(field.structure()),
        ctypes.byref(field.gradient_structure(sums)),
        shape[0],
        address(points, "points", shape),
        None if by_displacement is None else address(by_displacement, "by_displacement", shape),
        None if by_jacobian is None else address(by_jacobian, "by_jacobian", (*shape, field.dimension)),
        by_points_address,
        threads(),
    ):
        raise MemoryError("not enough memory for a block of points")
    return by_points
