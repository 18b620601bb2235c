"""A distance that wrong correspondences hardly change, and its scale."""

from __future__ import annotations

from torch import Tensor

SPREAD = 3.0  # times the median distance: 4.6 standard deviations of errors that are normal in 3-D


def geman_mcclure(squares: Tensor, scale: Tensor) -> Tensor:
    """Return `s t / (1 + t)` with `t = d^2 / s^2`, in the unit of s, of any shape, for squared distances d^2.

    Geman and McClure (1987): quadratic for distances far below the `scale` s, constant far above it, where the gradient
    fades as `d^-3`. The gradient is largest, 0.65, at `d = s / sqrt(3)`. Differentiable at d = 0.
    """
    ratio = squares / scale.square()
    return scale * ratio / (1 + ratio)


def robust_scale(squares: Tensor, least: float) -> Tensor:
    """Return `SPREAD` times the median of the distances whose squares `(N,)` are given, at least `least`.

    Less than half of the distances cannot make the median large, whatever their size. Not differentiated.
    """
    return (SPREAD * squares.detach().median().sqrt()).clamp_min(least)


def squared_excess(squares: Tensor, tolerance: float) -> Tensor:
    """Return `max(d - tolerance, 0)^2` of distances d given by their squares; its gradient at d = 0 is 0."""
    return (squares.clamp_min(tolerance**2).sqrt() - tolerance).square()
