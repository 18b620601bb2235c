"""Evaluation of neural fields by the compiled kernel, for the fields that it supports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nephi.fields.decoders import Decoder, Dense, SiluDecoder
from nephi.fields.domain import Domain
from nephi.fields.encodings import Encoding
from nephi.fields.grids import LatentCodes, LatentGrids
from nephi.kernels import FieldArrays, available, field_gradient, field_values


class FieldParts(Protocol):
    """The parts of a `NeuralField` that the kernel reads."""

    domain: Domain
    encoding: Encoding
    decoder: Decoder
    codes: LatentCodes | None
    amplitude: Tensor
    compiled: Compiled


class Compiled:
    """Cache of the arrays that the kernel reads of a field: a fit needs them thousands of times."""

    def __init__(self) -> None:
        self._amplitude: Tensor | None = None  # of the field when `_arrays` was made; moving a module replaces it
        self._arrays: FieldArrays | None = None

    def __reduce__(self) -> tuple[type[Compiled], tuple[()]]:
        """Leave the cache out of copies and pickles of a field."""
        return Compiled, ()

    def arrays(self, field: FieldParts) -> FieldArrays | None:
        """Return the arrays of a field; None for a field or a device that the kernel does not support."""
        if self._amplitude is not field.amplitude:
            encoding, amplitude = field.encoding, field.amplitude
            self._arrays = arrays_of(field, encoding.table) if isinstance(encoding, LatentGrids) else None
            self._amplitude = amplitude  # last: another thread must not take arrays that are not there yet
        return self._arrays


@contextmanager
def gradients_in_place(fields: Iterable[FieldParts]) -> Iterator[None]:
    """Let backward passes inside this context add gradients of the fields' parameters directly to their `.grad`.

    Parameters without `.grad` are held fixed. Autograd would write, sum and add the gradient of a whole table for each
    evaluation, most of it zeros. `torch.autograd.grad` does not return such gradients.
    """
    supported = [arrays for field in fields if (arrays := field.compiled.arrays(field)) is not None]
    for arrays in supported:
        arrays.in_place = True
    try:
        yield
    finally:
        for arrays in supported:
            arrays.in_place = False


def evaluate(arrays: FieldArrays, points: Tensor, jacobian: bool) -> tuple[Tensor, Tensor | None]:
    """Return displacements `(N, D)`, mm, at world points `(N, D)`, and optionally the Jacobians of `x + displacement`.

    Differentiable with respect to points and parameters.
    """
    if not torch.is_grad_enabled():
        return field_values(arrays, points, jacobian)
    result: tuple[Tensor, Tensor | None] = _Evaluate.apply(arrays, jacobian, points, *arrays.parameters)  # type: ignore[no-untyped-call]
    return result


def arrays_of(field: FieldParts, table: Tensor) -> FieldArrays | None:
    """Return the arrays of a field with `table` as its latent features; None where the kernel does not support it."""
    return _collect_arrays(field, table) if _has_kernel(field) else None


def _has_kernel(field: FieldParts) -> bool:
    """Return whether the kernel supports a field: dense grids, one SiLU layer, no codes, float32, on the CPU."""
    encoding, decoder, amplitude = field.encoding, field.decoder, field.amplitude
    return (
        available()
        and type(encoding) is LatentGrids
        and encoding.width % 4 == 0
        and isinstance(decoder, SiluDecoder)
        and len(decoder.hidden) == 1
        and field.codes is None
        and amplitude.device.type == "cpu"
        and amplitude.dtype == torch.float32
    )


def _collect_arrays(field: FieldParts, table: Tensor) -> FieldArrays:
    encoding, decoder, domain = field.encoding, field.decoder, field.domain
    assert isinstance(encoding, LatentGrids) and isinstance(decoder, SiluDecoder)
    hidden, last = decoder.hidden[0], decoder.last
    assert isinstance(hidden, Dense)
    return FieldArrays(
        encoding.cells_by_level,
        encoding.first_rows,
        domain.to_unit.contiguous(),
        domain.offset,
        field.amplitude.contiguous(),
        (table, hidden.weight, hidden.bias, last.weight, last.bias),
        encoding.degree,
    )


class _Evaluate(torch.autograd.Function):
    """The kernel with its gradient; the backward pass recomputes values, which is cheaper than storing them."""

    @staticmethod
    def forward(ctx, arrays, jacobian, points, *parameters):  # type: ignore[no-untyped-def]
        ctx.arrays = arrays
        ctx.save_for_backward(points, *parameters)
        ctx.set_materialize_grads(False)
        return field_values(arrays, points, jacobian)

    @staticmethod
    @once_differentiable
    def backward(ctx, by_displacement, by_jacobian):  # type: ignore[no-untyped-def]
        points, *parameters = ctx.saved_tensors  # raises an error for parameters changed since
        in_place = ctx.arrays.in_place
        sums = ctx.arrays.gradients() if in_place else [torch.zeros_like(p) for p in parameters]
        by_points = field_gradient(ctx.arrays, points, by_displacement, by_jacobian, ctx.needs_input_grad[2], sums)
        return None, None, by_points, *([None] * len(sums) if in_place else sums)
