"""Neural fields evaluated by the compiled kernel, where there is one for their kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nephi.fields.decoders import Dense, SiluDecoder
from nephi.fields.grids import LatentGrids
from nephi.kernels import FieldArrays, available, field_gradient, field_values

if TYPE_CHECKING:
    from nephi.fields.neural_field import NeuralField


def has_kernel(field: NeuralField) -> bool:
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


def displacement(field: NeuralField, points: Tensor) -> Tensor:
    """Return the displacement `(N, D)` in mm at world points `(N, D)`; differentiable."""
    return _evaluated(field, points, False)[0]


def displacement_and_jacobian(field: NeuralField, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the displacement and the Jacobian of `x + displacement`, `(N, D)` and `(N, D, D)`; differentiable."""
    moved, jacobian = _evaluated(field, points, True)
    assert jacobian is not None
    return moved, jacobian


def _evaluated(field: NeuralField, points: Tensor, jacobian: bool) -> tuple[Tensor, Tensor | None]:
    arrays = _arrays(field)
    if not torch.is_grad_enabled():
        return field_values(arrays, points, jacobian)
    result: tuple[Tensor, Tensor | None] = _Evaluate.apply(arrays, jacobian, points, *arrays.parameters)  # type: ignore[no-untyped-call]
    return result


def _arrays(field: NeuralField) -> FieldArrays:
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
        (encoding.table, hidden.weight, hidden.bias, last.weight, last.bias),
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
        points, *_ = ctx.saved_tensors  # also notices parameters that were changed since
        by_points, sums = field_gradient(ctx.arrays, points, by_displacement, by_jacobian, ctx.needs_input_grad[2])
        return None, None, by_points, *sums
