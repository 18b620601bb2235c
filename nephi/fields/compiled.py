"""Neural fields evaluated by the compiled kernel, where there is one for their kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nephi.fields.codes import LatentCodes
from nephi.fields.decoders import Decoder, Dense, SiluDecoder
from nephi.fields.domain import Domain
from nephi.fields.encodings import Encoding
from nephi.fields.grids import LatentGrids
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
    """What the kernel needs of a field, gathered once: a fit asks a thousand times."""

    def __init__(self) -> None:
        self._amplitude: Tensor | None = None  # the field's when `_arrays` was gathered; moving a module replaces it
        self._arrays: FieldArrays | None = None

    def __reduce__(self) -> tuple[type[Compiled], tuple[()]]:
        """Copies of a field (and fields in another process) gather their own."""
        return Compiled, ()

    def arrays(self, field: FieldParts) -> FieldArrays | None:
        """Return the arrays of a field that the kernel computes, None for another kind of field or place."""
        if self._amplitude is not field.amplitude:
            self._amplitude = field.amplitude
            encoding = field.encoding
            self._arrays = arrays_of(field, encoding.table) if isinstance(encoding, LatentGrids) else None
        return self._arrays


@contextmanager
def gradients_in_place(fields: Iterable[FieldParts]) -> Iterator[None]:
    """Inside, backward passes add the gradients of the fields' parameters straight to their `.grad`, which must exist
    (where it does not, the parameter is held fixed).

    Handed to autograd instead, the gradient of a table would be written, summed and added as a whole for each
    evaluation, most of it zeros. `torch.autograd.grad` does not see such gradients.
    """
    found = [arrays for field in fields if (arrays := field.compiled.arrays(field)) is not None]
    for arrays in found:
        arrays.in_place = True
    try:
        yield
    finally:
        for arrays in found:
            arrays.in_place = False


def evaluate(arrays: FieldArrays, points: Tensor, jacobian: bool) -> tuple[Tensor, Tensor | None]:
    """Return displacements `(N, D)`, mm, at world points `(N, D)`, and if wanted the Jacobians of `x + displacement`.

    Differentiable with respect to points and parameters.
    """
    if not torch.is_grad_enabled():
        return field_values(arrays, points, jacobian)
    result: tuple[Tensor, Tensor | None] = _Evaluate.apply(arrays, jacobian, points, *arrays.parameters)  # type: ignore[no-untyped-call]
    return result


def arrays_of(field: FieldParts, table: Tensor) -> FieldArrays | None:
    """Return the arrays of a field with `table` for its latent features, None where the kernel does not compute it."""
    return _gathered(field, table) if _has_kernel(field) else None


def _has_kernel(field: FieldParts) -> bool:
    """Tell whether the kernel computes this field: dense grids, one SiLU layer, no codes, float32, in main memory."""
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


def _gathered(field: FieldParts, table: Tensor) -> FieldArrays:
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
    )


class _Evaluate(torch.autograd.Function):
    """The kernel with its gradient; what the forward pass found is computed again, which is cheaper than keeping it."""

    @staticmethod
    def forward(ctx, arrays, jacobian, points, *parameters):  # type: ignore[no-untyped-def]
        ctx.arrays = arrays
        ctx.save_for_backward(points, *parameters)
        ctx.set_materialize_grads(False)
        return field_values(arrays, points, jacobian)

    @staticmethod
    @once_differentiable
    def backward(ctx, by_displacement, by_jacobian):  # type: ignore[no-untyped-def]
        points, *parameters = ctx.saved_tensors  # also notices parameters that were changed since
        in_place = ctx.arrays.in_place
        sums = ctx.arrays.gradients() if in_place else [torch.zeros_like(p) for p in parameters]
        by_points = field_gradient(ctx.arrays, points, by_displacement, by_jacobian, ctx.needs_input_grad[2], sums)
        return None, None, by_points, *([None] * len(sums) if in_place else sums)
