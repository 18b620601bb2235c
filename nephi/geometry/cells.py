"""The cells of an array around points: their corners, and the multilinear interpolation between these.

Written with gathers instead of `torch.nn.functional.grid_sample`: an integer array stays integer until its corners
are read, the gradient comes with the value in one pass, and any memory order of the array is read in place.

Convention: `points_voxel[..., i]` runs along axis i of the array, 0 is the centre of the first voxel; coordinates
beyond the array are moved to its border, where the gradient across the border is 0.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence

import torch
from torch import Tensor


def cell_corners(
    data: Tensor, points_voxel: Tensor, dtype: torch.dtype | None = None
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Read the 2^D corners around each point: `(2,) * D + points (+ C)`, fractions and inside flags per axis.

    The corners have `dtype`, by default that of the points.
    """
    d = points_voxel.shape[-1]
    flat, strides = flattened(data, d)
    integer = torch.int32 if data.numel() < 2**31 else torch.int64
    index = None
    fractions, inside = [], []
    for axis, coordinate in enumerate(points_voxel.unbind(-1)):
        last = data.shape[axis] - 1
        clamped = coordinate.clamp(0, last)
        base = clamped.floor().clamp(max=max(last - 1, 0)).nan_to_num(0.0)  # at NaN any cell: its fraction stays NaN
        fractions.append(clamped - base)
        inside.append(clamped == coordinate)
        step = base.to(integer) * strides[axis]
        index = step if index is None else index + step
    assert index is not None
    reach = [stride if n > 1 else 0 for stride, n in zip(strides, data.shape, strict=False)]
    steps = [sum(map(operator.mul, corner, reach)) for corner in itertools.product((0, 1), repeat=d)]
    moved = torch.tensor(steps, dtype=integer, device=index.device)
    every = moved.reshape([2] * d + [1] * index.ndim) + index
    values = flat.index_select(0, every.reshape(-1)).reshape(every.shape + flat.shape[1:])
    return values.to(dtype or points_voxel.dtype), fractions, inside


def multilinear(corners: Tensor, fractions: Sequence[Tensor]) -> Tensor:
    """Interpolate between the corners of a cell.

    `corners` has shape `(2,) * D + S` or `(2,) * D + S + (C,)`, `fractions` are D tensors of shape S in [0, 1]; the
    result has shape S or `S + (C,)`. Differentiable.
    """
    for t in _spread(corners, fractions):
        corners = torch.lerp(corners[0], corners[1], t)
    return corners


def multilinear_with_slopes(corners: Tensor, fractions: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return `multilinear`, and its slope along each of the D axes, per cell; differentiable.

    One axis after the other is contracted, carrying the slopes of the axes already done.
    """
    slopes: list[Tensor] = []
    for t in _spread(corners, fractions):
        low, high = corners.unbind(0)
        difference = high - low
        slopes = [torch.lerp(s[0], s[1], t) for s in slopes]
        slopes.append(difference)
        corners = torch.addcmul(low, difference, t)
    return corners, slopes


def _spread(corners: Tensor, fractions: Sequence[Tensor]) -> Sequence[Tensor]:
    """Repeat the fractions over the channels: arithmetic on short broadcast rows costs five times as much."""
    if corners.ndim - len(fractions) == fractions[0].ndim:
        return fractions
    return [f.unsqueeze(-1).expand(*f.shape, corners.shape[-1]).contiguous() for f in fractions]


def flattened(data: Tensor, dimension: int) -> tuple[Tensor, list[int]]:
    """View `data` as rows in memory order, with the stride in rows of each of the first `dimension` axes.

    Both memory orders that occur (C and Fortran) are read in place; anything else is copied once.
    """
    channels = data.shape[dimension:]
    width = channels.numel()
    for order in (list(range(dimension)), list(reversed(range(dimension)))):
        ordered = data.permute(*order, *range(dimension, data.ndim))
        if ordered.is_contiguous():
            strides = [0] * dimension
            step = 1
            for axis in reversed(order):
                strides[axis] = step
                step *= data.shape[axis]
            return ordered.view(-1, width) if channels else ordered.view(-1), strides
    return flattened(data.contiguous(), dimension)
