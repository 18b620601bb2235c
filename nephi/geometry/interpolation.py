"""Multilinear interpolation of an array at points: the value, and the value with its gradient.

The convention is that of `cells`: `points_voxel[..., i]` runs along axis i of the array, 0 is the centre of the first
voxel, and the border continues beyond the array.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nephi.geometry.cells import cell_corners, multilinear, multilinear_with_slopes
from nephi.geometry.grid import Grid
from nephi.kernels import can_interpolate
from nephi.kernels import interpolate as interpolate_compiled


def interpolate_with_gradient(data: Tensor, points_voxel: Tensor) -> tuple[Tensor, Tensor]:
    """Return the multilinear value of `data` at points, and its gradient.

    `data` has shape `(n_1, ..., n_D)` or `(n_1, ..., n_D, C)` (any real dtype, any strides); `points_voxel` has shape
    `(..., D)`. Values have shape `(...)` or `(..., C)`; gradients carry one more axis of length D, per voxel.
    """
    d = points_voxel.shape[-1]
    corners, fractions, inside = cell_corners(data, points_voxel)
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
    corners, fractions, _ = cell_corners(data, points_voxel)
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
