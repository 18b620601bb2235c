"""Multilinear interpolation of an array at points: the value, and the value with its gradient.

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
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nephi.geometry.grid import Grid
from nephi.kernels import can_interpolate
from nephi.kernels import interpolate as interpolate_compiled


def interpolate_with_gradient(data: Tensor, points_voxel: Tensor) -> tuple[Tensor, Tensor]:
    """Return the multilinear value of `data` at points, and its gradient.

    `data` has shape `(n_1, ..., n_D)` or `(n_1, ..., n_D, C)` (any real dtype, any strides); `points_voxel` has shape
    `(..., D)`. Values have shape `(...)` or `(..., C)`; gradients carry one more axis of length D, per voxel.
    """
    d = points_voxel.shape[-1]
    corners, fractions, inside = _corners(data, points_voxel)
    value, slopes = multilinear_with_slopes(corners, fractions)
    channels = data.ndim > d
    steep = [s * (m.unsqueeze(-1) if channels else m) for s, m in zip(slopes, inside, strict=True)]
    return value, torch.stack(steep, dim=-1)


def interpolate(data: Tensor, points_voxel: Tensor, window: tuple[float, float] | None = None) -> Tensor:
    """Return the multilinear value of `data` at points; differentiable with respect to the points and to `data`.

    Shapes as in `interpolate_with_gradient`. With a window, its `(low, high)` become (0, 1) and values beyond are
    clamped, after the interpolation. Where only the points require a gradient, it is computed with the value, so that
    the backward pass is a product.
    """
    recorded = torch.is_grad_enabled()
    if recorded and points_voxel.requires_grad and not data.requires_grad:
        result: Tensor = _Interpolation.apply(data, points_voxel, window)  # type: ignore[no-untyped-call]
        return result
    if can_interpolate(data, points_voxel) and not (recorded and data.requires_grad):
        return interpolate_compiled(data, points_voxel, window, gradient=False)[0]
    corners, fractions, _ = _corners(data, points_voxel)
    value = multilinear(corners, fractions)
    return value if window is None else _windowed(value, window)


def interpolate_batch(images: Tensor, grid: Grid, points: Tensor) -> Tensor:
    """Return images `(B, C, *shape)` on one grid at world points `(B, N, D)`, mm, each image at its own: `(B, N, C)`.

    Beyond the grid the border continues. Differentiable with respect to points and images.
    """
    voxels = grid.world_to_voxel_points(points)
    if images.shape[1] == 1:
        return torch.stack([interpolate(image[0], own) for image, own in zip(images, voxels, strict=True)]).unsqueeze(
            -1
        )
    tables = images.movedim(1, -1).contiguous()
    return torch.stack([interpolate(table, own) for table, own in zip(tables, voxels, strict=True)])


def interpolate_tables(tables: Tensor, points_voxel: Tensor) -> Tensor:
    """Return tables `(B, C, *shape)` at points `(B, N, D)` in voxels, each at its own: `(B, N, C)`.

    The same as `interpolate` of each table to rounding, by torch's `grid_sample`: where gradients of the tables are
    recorded it takes a tenth of the time. Differentiable once with respect to points and tables.
    """
    # grid_sample counts axes from the last, and from -1 to 1; an axis of one voxel has only the position 0.
    last = torch.tensor([max(1, n - 1) for n in tables.shape[2:]], dtype=points_voxel.dtype, device=points_voxel.device)
    positions = (points_voxel * (2 / last) - 1).flip(-1)
    lookup = positions.reshape(len(tables), *[1] * (tables.ndim - 3), -1, tables.ndim - 2)
    sampled = nn.functional.grid_sample(
        tables.to(points_voxel.dtype), lookup, mode="bilinear", padding_mode="border", align_corners=True
    )
    return sampled.flatten(2).transpose(1, 2)


def cell_differences(tables: Tensor) -> list[Tensor]:
    """Return the differences between neighbours in tables `(B, C, *shape)` along each axis, one fewer than voxels.

    Along an axis of one voxel they are 0, as many as voxels.
    """
    axes = range(2, tables.ndim)
    return [tables.diff(dim=k) if tables.shape[k] > 1 else torch.zeros_like(tables) for k in axes]


def interpolate_tables_with_gradient(
    tables: Tensor, differences: Sequence[Tensor], points_voxel: Tensor
) -> tuple[Tensor, Tensor]:
    """Return `interpolate_tables`, and the gradients `(B, N, C, D)` per voxel, as `interpolate_with_gradient`.

    `differences` are the `cell_differences` of the tables. The slope along an axis is the difference across the cell,
    interpolated along the other axes.
    """
    slopes = []
    for axis, difference in enumerate(differences):
        coordinate, last = points_voxel[..., axis].detach(), tables.shape[2 + axis] - 1
        cell = coordinate.floor().clamp(0, max(0, last - 1))
        inside = (coordinate >= 0) & (coordinate <= last)
        snapped = torch.cat([points_voxel[..., :axis], cell.unsqueeze(-1), points_voxel[..., axis + 1 :]], dim=-1)
        slopes.append(interpolate_tables(difference, snapped) * inside.unsqueeze(-1))
    return interpolate_tables(tables, points_voxel), torch.stack(slopes, dim=-1)


def interpolate_nearest(data: Tensor, points_voxel: Tensor) -> Tensor:
    """Return the value of the voxel nearest to each point `(..., D)`, in `data`'s own dtype."""
    d = points_voxel.shape[-1]
    flat, strides = _flatten(data, d)
    index = torch.zeros(points_voxel.shape[:-1], dtype=torch.int64, device=points_voxel.device)
    for axis in range(d):
        nearest = points_voxel[..., axis].round().clamp(0, data.shape[axis] - 1).long()
        index += nearest * strides[axis]
    return flat.index_select(0, index.reshape(-1)).reshape(index.shape + flat.shape[1:])


def interpolate_majority(data: Tensor, points_voxel: Tensor) -> Tensor:
    """Return the label with the largest multilinear weight among the 2^D corners of each point `(..., D)`.

    The same as the arg-max of linearly interpolated one-hot maps, at a cost that does not depend on the number of
    labels. Labels come back in `data`'s own dtype, exact; NaN counts as a label.
    """
    corners, fractions, _ = _corners(data, points_voxel, data.dtype)
    d = len(fractions)
    labels = corners.reshape(2**d, *corners.shape[d:])
    weights = []
    for corner in itertools.product((0, 1), repeat=d):
        parts = [f if take else 1 - f for f, take in zip(fractions, corner, strict=True)]
        weights.append(torch.stack(parts).prod(dim=0))
    weight = torch.stack(weights)
    gaps = labels.isnan() if labels.is_floating_point() else None
    score = torch.stack([(weight * _same(labels, gaps, corner)).sum(dim=0) for corner in range(2**d)])
    return labels.gather(0, score.argmax(dim=0, keepdim=True)).squeeze(0)


def interpolate_labels(data: Tensor, points_voxel: Tensor, labels: Tensor) -> Tensor:
    """Return the multilinear interpolation `(..., L)` of the indicators `data == label` at points `(..., D)`.

    `data` `(n_1, ..., n_D)` and `labels` `(L,)` are of one dtype; labels `(..., L)` differ from point to point.
    Differentiable with respect to the points. No indicator is computed for the whole array.
    """
    corners, fractions, _ = _corners(data, points_voxel, data.dtype)
    return multilinear((corners.unsqueeze(-1) == labels).to(points_voxel.dtype), fractions)


def _same(labels: Tensor, gaps: Tensor | None, corner: int) -> Tensor:
    """Return at which corners `(2^D, ...)` the label is that of one of them; `gaps` is true where it is NaN."""
    matches = labels == labels[corner]
    return matches if gaps is None else matches | (gaps & gaps[corner])


class _Interpolation(torch.autograd.Function):
    """Value forward; backward multiplies by the gradient that came with it. `data` gets none."""

    @staticmethod
    def forward(ctx, data, points_voxel, window):  # type: ignore[no-untyped-def]
        if can_interpolate(data, points_voxel):
            value, gradient = interpolate_compiled(data, points_voxel, window, gradient=True)
        else:
            value, gradient = _windowed_with_gradient(data, points_voxel, window)
        ctx.save_for_backward(gradient)
        ctx.channels = data.ndim > points_voxel.shape[-1]
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        (gradient,) = ctx.saved_tensors
        product = upstream.unsqueeze(-1) * gradient
        return None, product.sum(dim=-2) if ctx.channels else product, None


def _windowed(values: Tensor, window: tuple[float, float]) -> Tensor:
    low, high = window
    return ((values - low) * (1 / (high - low))).clamp(0, 1)


def _windowed_with_gradient(
    data: Tensor, points_voxel: Tensor, window: tuple[float, float] | None
) -> tuple[Tensor, Tensor]:
    value, gradient = interpolate_with_gradient(data, points_voxel)
    if window is None:
        return value, gradient
    raw = (value - window[0]) * (1 / (window[1] - window[0]))
    kept = ((raw >= 0) & (raw <= 1)).to(gradient) / (window[1] - window[0])
    return raw.clamp(0, 1), gradient * kept.unsqueeze(-1)


def _corners(
    data: Tensor, points_voxel: Tensor, dtype: torch.dtype | None = None
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Read the 2^D corners around each point: `(2,) * D + points (+ C)`, fractions and inside flags per axis.

    The corners have `dtype`, by default that of the points.
    """
    d = points_voxel.shape[-1]
    flat, strides = _flatten(data, d)
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


def _flatten(data: Tensor, dimension: int) -> tuple[Tensor, list[int]]:
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
    return _flatten(data.contiguous(), dimension)
