"""Sums of similarity losses by the compiled kernel, which computes the gradient along with the value."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nephi.kernels import compare


def compiled_similarity(
    fixed: Tensor,
    moving: Tensor,
    weights: Tensor | None,
    factors: Mapping[str, float],
    epsilons: tuple[float, float],
) -> Tensor:
    """Return the scalar loss of patches `(P, K)`, differentiable with respect to both; see `nephi.kernels.compare`."""
    result: Tensor = _CompiledSimilarity.apply(fixed, moving, weights, factors, epsilons)  # type: ignore[no-untyped-call]
    return result


class _CompiledSimilarity(torch.autograd.Function):
    """The measures are symmetric: the gradient of the first image is that of the second one with both exchanged."""

    @staticmethod
    def forward(ctx, fixed, moving, weights, factors, epsilons):  # type: ignore[no-untyped-def]
        of_fixed, of_moving = ctx.needs_input_grad[:2]
        loss, by_moving = compare(fixed, moving, weights, factors, epsilons, gradient=of_moving)
        by_fixed = compare(moving, fixed, weights, factors, epsilons, gradient=True)[1] if of_fixed else None
        ctx.save_for_backward(by_fixed, by_moving)
        return moving.new_tensor(loss)

    @staticmethod
    @once_differentiable
    def backward(ctx, by_loss):  # type: ignore[no-untyped-def]
        gradients = (None if gradient is None else by_loss * gradient for gradient in ctx.saved_tensors)
        return *gradients, None, None, None
