"""Uniform B-splines between nodes: quadratic and cubic, as tensor products.

A cell of a lattice lies between two knots. At position t in it, 0 to 1, the degree + 1 nodes around it have weights
that sum to one (Unser, "Splines: a perfect fit for signal and image processing", IEEE SPM 1999). With `cells + degree`
nodes along an axis, all cells are alike, those at the border as well, and polynomials of the degree are reproduced up
to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def spline_weights(t: Tensor, degree: int) -> list[Tensor]:
    """Return the weights of the degree + 1 nodes around positions `t` in their cells, 0 to 1, each of t's shape."""
    s = 1 - t
    if degree == 2:
        return [s**2 / 2, 0.5 + s * t, t**2 / 2]
    return [s**3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (3 * s**3 - 6 * s**2 + 4) / 6, t**3 / 6]


def spline_slopes(t: Tensor, degree: int) -> list[Tensor]:
    """Return the derivatives of `spline_weights` by t."""
    s = 1 - t
    if degree == 2:
        return [-s, s - t, t]
    return [-(s**2) / 2, (3 * t**2 - 4 * t) / 2, -(3 * s**2 - 4 * s) / 2, t**2 / 2]


def spline(nodes: Tensor, fractions: Sequence[Tensor]) -> Tensor:
    """Interpolate between the nodes around points by B-splines.

    `nodes` has shape `(degree + 1,) * D + S + (C,)`, `fractions` are D tensors of shape S in [0, 1]; the result has
    shape `S + (C,)`. Differentiable.
    """
    for t in fractions:
        nodes = _contract(nodes, _spread(spline_weights(t, len(nodes) - 1), nodes.shape[-1]))
    return nodes


def spline_with_slopes(nodes: Tensor, fractions: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return `spline`, and its slope along each of the D axes, per cell; differentiable.

    One axis after the other is contracted, carrying the slopes of the axes already done.
    """
    slopes: list[Tensor] = []
    for t in fractions:
        degree, channels = len(nodes) - 1, nodes.shape[-1]
        weights = _spread(spline_weights(t, degree), channels)
        slopes = [_contract(slope, weights) for slope in slopes]
        slopes.append(_contract(nodes, _spread(spline_slopes(t, degree), channels)))
        nodes = _contract(nodes, weights)
    return nodes, slopes


def spline_sites(cells: int, degree: int) -> Tensor:
    """Return `cells + degree` positions from 0 to 1 at which values determine the coefficients along an axis, float64.

    The planes between cells (degree 1); the centres of cells and both ends (2); the planes and a position in each of
    the cells at the ends (3).
    """
    planes = torch.linspace(0, 1, cells + 1, dtype=torch.float64)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    if degree == 1:
        return planes
    centres = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    added = torch.tensor([1 / 3, cells - 1 / 3], dtype=torch.float64) / cells
    return torch.cat([ends, centres] if degree == 2 else [planes, added]).sort().values


def spline_coefficients(values: Tensor, degree: int) -> Tensor:
    """Return the coefficients of the spline with given `values` `(n_1, ..., n_D, C)` at the sites of all D axes.

    Both have one shape; a lattice of n coefficients has `n - degree` cells. Polynomials of the degree are reproduced.
    """
    for axis, n in enumerate(values.shape[:-1] if degree > 1 else ()):
        matrix = _collocation(n - degree, degree).to(values)
        solved = torch.linalg.solve(matrix, values.movedim(axis, 0).reshape(n, -1))
        values = solved.reshape(values.movedim(axis, 0).shape).movedim(0, axis)
    return values


def _collocation(cells: int, degree: int) -> Tensor:
    """Return the weights `(n, n)`, n = cells + degree, of all coefficients at the sites of an axis, float64."""
    position = spline_sites(cells, degree) * cells
    low = position.floor().clamp(max=cells - 1)
    weights = torch.stack(spline_weights(position - low, degree), dim=-1)
    columns = low.long().unsqueeze(-1) + torch.arange(degree + 1, dtype=torch.int64)
    return weights.new_zeros(cells + degree, cells + degree).scatter_(1, columns, weights)


def _contract(nodes: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Return the weighted sum over the first axis of `nodes`."""
    total = nodes[0] * weights[0]
    for node, weight in zip(nodes[1:], weights[1:], strict=True):
        total = torch.addcmul(total, node, weight)
    return total


def _spread(weights: Sequence[Tensor], channels: int) -> list[Tensor]:
    """Repeat weights over the channels: arithmetic on short broadcast rows costs five times as much."""
    return [weight.unsqueeze(-1).expand(*weight.shape, channels).contiguous() for weight in weights]
