"""Forward-mode derivatives in plain operations.

A *jet* is one tensor of shape `(1 + T, N, C)`: row 0 holds the values of C features at N points, row j their
derivative by the j-th of T directions. T is D for Jacobians and 0 for values alone, in the same code. Each step is an
ordinary differentiable operation: one backward pass gives the gradient of losses on values *and* Jacobians.
"""

from __future__ import annotations

import torch
from torch import Tensor


def constant(values: Tensor, points: int, directions: int) -> Tensor:
    """Return the jet `(1 + T, N, C)` of features `(C,)` or `(N, C)` that do not depend on the position."""
    zeros = values.new_zeros(directions, points, values.shape[-1])
    return torch.cat([values.expand(1, points, -1), zeros])


def linear(jet: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the jet of `W h + b`; `weight` is `(out, in)`. Only the value gets the bias."""
    rows, points, channels = jet.shape
    moved = (jet.reshape(rows * points, channels) @ weight.T).view(rows, points, len(weight))
    if bias is None:
        return moved
    if rows == 1:
        return moved + bias
    return moved + torch.cat([bias[None], bias.new_zeros(rows - 1, len(bias))])[:, None]


def activate(jet: Tensor, value: Tensor, slope: Tensor) -> Tensor:
    """Return the jet of `f(h)`, given `value = f(h)` and `slope = f'(h)`, both `(N, C)`: the chain rule."""
    if len(jet) == 1:
        return value[None]
    return torch.cat([value[None], slope * jet[1:]])


def sine(jet: Tensor, omega: float) -> Tensor:
    """Return the jet of `sin(omega h)`."""
    phase = omega * jet[0]
    return activate(jet, torch.sin(phase), omega * torch.cos(phase))


def silu(jet: Tensor) -> Tensor:
    """Return the jet of `h sigmoid(h)` (Elfwing et al. 2018); slope `s (1 + h (1 - s))`."""
    s = torch.sigmoid(jet[0])
    value = jet[0] * s
    return activate(jet, value, s + value * (1 - s))


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return the jet of the elementwise product `a b` (Leibniz' rule)."""
    if len(a) == 1:
        return a * b
    return torch.cat([a[:1] * b[:1], a[1:] * b[:1] + a[:1] * b[1:]])
