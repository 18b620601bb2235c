"""Gaussian smoothing to a coarser grid."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.images.image import Image


def smoothed(image: Image, sigma: float, window: tuple[float, float] | None = None) -> Image:
    """Return the windowed image smoothed by a Gaussian of `sigma` mm, on a grid no finer than needed, float32.

    Values of `window = (low, high)` are mapped to `(0, 1)` and clamped before smoothing. Each axis is thinned
    by the largest whole factor that keeps at least one voxel a sigma; the world frame stays exact. Smoothing along
    an axis is a product with a small matrix (a Gaussian row for each output voxel, renormalised at the border); the
    volume is read slab by slab along the last axis, so that the input is never held in float.
    """
    grid = image.grid
    factors = [max(1, math.floor(sigma / float(s) + 1e-6)) for s in grid.spacing]
    axes = [_smoothing_matrix(n, float(s), sigma, f) for n, s, f in zip(grid.shape, grid.spacing, factors, strict=True)]
    axes = [(m.to(image.data.device), shift) for m, shift in axes]
    slabs = []
    for start, stop in grid.slabs(2_000_000):
        slab = _windowed(image.data[..., start:stop], window)
        for axis, (matrix, _) in enumerate(axes[:-1]):
            slab = _along(slab, matrix, axis)
        slabs.append(slab)
    joined = torch.cat(slabs, dim=-1)
    result = _along(joined, axes[-1][0], grid.dimension - 1).contiguous()
    corner = torch.tensor([shift for _, shift in axes], dtype=torch.float64)
    affine = grid.affine.clone()
    affine[:-1, -1] = grid.voxel_to_world_points(corner)
    affine[:-1, :-1] *= torch.tensor(factors, dtype=torch.float64)
    return Image(result, Grid(tuple(result.shape), affine), name=image.name)


def _along(slab: Tensor, matrix: Tensor, axis: int) -> Tensor:
    return torch.tensordot(slab, matrix, dims=([axis], [1])).movedim(-1, axis)


def _windowed(data: Tensor, window: tuple[float, float] | None) -> Tensor:
    values = data.to(torch.float32)
    if window is None:
        return values
    low, high = window
    return ((values - low) / (high - low)).clamp_(0, 1)


def _smoothing_matrix(size: int, spacing: float, sigma: float, factor: int) -> tuple[Tensor, float]:
    """Return Gaussian rows `(ceil(size / factor), size)` and the input coordinate of the first output voxel."""
    count = math.ceil(size / factor)
    shift = (size - 1 - (count - 1) * factor) / 2
    centres = shift + factor * torch.arange(count, dtype=torch.float64)
    distance = (centres[:, None] - torch.arange(size, dtype=torch.float64)) * spacing
    rows = torch.exp(-0.5 * (distance / max(sigma, 1e-3 * spacing)) ** 2)
    rows[distance.abs() > 4 * max(sigma, 0.25 * spacing)] = 0
    return (rows / rows.sum(dim=1, keepdim=True)).float(), shift
