"""Gaussian smoothing to a coarser grid, and levels that share the reading of a large image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.images.image import Image
from nephi.kernels import can_smooth, smooth

LARGE = 20_000_000  # voxels; above, levels are made from a thinned image instead of from the image itself


class Pyramid:
    """Smoothed versions of one windowed image, of whatever smoothing is asked for.

    The voxels of a large image are read once, into an image smoothed by two voxels and thinned to match; what is
    smoothed more is made from that one. Gaussians compose: by a, then by b, is by `sqrt(a^2 + b^2)`.
    """

    def __init__(self, image: Image, window: tuple[float, float]) -> None:
        self.image = image
        self.window = window
        self.least = 2 * float(image.grid.spacing.max()) if image.grid.size > LARGE else math.inf  # mm, of the base
        self._base: Image | None = None

    def at(self, sigma: float) -> Image:
        """Return the image smoothed by `sigma` mm; see `smoothed`."""
        if sigma < self.least:
            return smoothed(self.image, sigma, self.window)
        if self._base is None:
            self._base = smoothed(self.image, self.least, self.window)
        rest = math.sqrt(sigma**2 - self.least**2)
        return smoothed(self._base, rest, resolution=sigma)

    def carried(self, matrix: Tensor) -> Pyramid:
        """Return the pyramid with its image placed elsewhere by a homogeneous world matrix."""
        result = Pyramid(self.image.with_grid(self.image.grid.transformed(matrix)), self.window)
        result.least = self.least
        if self._base is not None:
            result._base = self._base.with_grid(self._base.grid.transformed(matrix))
        return result


def smoothed(
    image: Image, sigma: float, window: tuple[float, float] | None = None, resolution: float | None = None
) -> Image:
    """Return the windowed image smoothed by a Gaussian of `sigma` mm, on a grid no finer than needed, float32.

    Values of `window = (low, high)` are mapped to `(0, 1)` and clamped before smoothing. Each axis is thinned
    by the largest whole factor that keeps at least one voxel every `resolution` mm (`sigma`, when omitted); the world
    frame stays exact. Smoothing along an axis is a product with a small matrix (a Gaussian row for each output voxel,
    renormalised at the border). The input is never held in float as a whole.
    """
    grid = image.grid
    apart = sigma if resolution is None else resolution
    factors = [max(1, math.floor(apart / float(s) + 1e-6)) for s in grid.spacing]
    axes = [_smoothing_matrix(n, float(s), sigma, f) for n, s, f in zip(grid.shape, grid.spacing, factors, strict=True)]
    matrices = [matrix for matrix, _ in axes]
    if can_smooth(image.data):
        result = smooth(image.data, window, matrices)
    else:
        result = _multiplied(image, window, [matrix.to(image.data.device) for matrix in matrices])
    corner = torch.tensor([shift for _, shift in axes], dtype=torch.float64)
    affine = grid.affine.clone()
    affine[:-1, -1] = grid.voxel_to_world_points(corner)
    affine[:-1, :-1] *= torch.tensor(factors, dtype=torch.float64)
    return Image(result, Grid(tuple(result.shape), affine), name=image.name)


def _multiplied(image: Image, window: tuple[float, float] | None, matrices: list[Tensor]) -> Tensor:
    """Multiply along every axis, slab by slab along the last one, so that the input is never held in float."""
    slabs = []
    for start, stop in image.grid.slabs(2_000_000):
        slab = _windowed(image.data[..., start:stop], window)
        for axis, matrix in enumerate(matrices[:-1]):
            slab = _along(slab, matrix, axis)
        slabs.append(slab)
    return _along(torch.cat(slabs, dim=-1), matrices[-1], image.dimension - 1).contiguous()


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
