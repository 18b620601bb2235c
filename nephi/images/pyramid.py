"""Gaussian smoothing with downsampling, and levels of a large image that share one pass over its voxels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.images.image import Image
from nephi.images.sampler import ImageSampler
from nephi.kernels import can_read_through, smooth

LARGE = 20_000_000  # voxels above which levels are computed from a downsampled image


class Pyramid:
    """Smoothed versions of one windowed image.

    The voxels of a large image are read once and downsampled to `resolution` mm; levels with at least as much smoothing
    are computed from the downsampled image. Variances of smoothing add: smoothing by a, then by b, is smoothing by
    `sqrt(a^2 + b^2)`. `resolution` is `detail`, the finest detail that is compared (mm), but at least two voxels.
    """

    def __init__(self, image: Image, window: tuple[float, float], detail: float = 0.0) -> None:
        self.image = image
        self.window = window
        self.detail = detail
        edge = float(image.grid.spacing.log().mean().exp())  # of a cube with the volume of a voxel
        self.resolution = max(detail, 2 * edge) if image.grid.size > LARGE else math.inf
        self._base: tuple[Image, Tensor] | None = None  # downsampled image, and its smoothing along each axis

    def at(self, sigma: float) -> Image:
        """Return the image smoothed by `sigma` mm; see `smoothed`."""
        if sigma < self.resolution:
            return smoothed(self.image, sigma, self.window)
        base, smoothing = self._downsampled()
        return smoothed(base, (sigma**2 - smoothing**2).clamp_min(0).sqrt(), resolution=sigma)

    def sampler(self, sigma: float, spacing: float) -> ImageSampler:
        """Return a sampler of the image smoothed by `sigma` mm, for samples `spacing` mm apart.

        Unsmoothed voxels keep their type, and the window is applied to interpolated values. For samples that are far
        apart compared with the voxels of a large image, the sampler reads the downsampled image.
        """
        if sigma:
            return ImageSampler(self.at(sigma))
        if spacing / 2 < self.resolution:
            return ImageSampler(self.image, self.window)
        return ImageSampler(self._downsampled()[0])

    def shape(self, sigma: float, spacing: float) -> tuple[int, ...]:
        """Return the shape of the image that `sampler` reads, without computing the image."""
        grid = self.image.grid
        if not sigma:
            coarse = spacing / 2 >= self.resolution
            factors = _downsampling(self.resolution, grid) if coarse else [1] * grid.dimension
            return tuple(n // min(f, n) for n, f in zip(grid.shape, factors, strict=True))
        if sigma >= self.resolution:
            grid = self._downsampled()[0].grid
        return tuple(math.ceil(n / f) for n, f in zip(grid.shape, _downsampling(sigma, grid), strict=True))

    def transformed(self, matrix: Tensor) -> Pyramid:
        """Return the pyramid of the image on a grid transformed by a homogeneous world matrix."""
        pyramid = Pyramid(self.image.with_grid(self.image.grid.transformed(matrix)), self.window, self.detail)
        pyramid.resolution = self.resolution  # refers to the grid on which the image was smoothed
        if self._base is not None:
            base, smoothing = self._base
            pyramid._base = base.with_grid(base.grid.transformed(matrix)), smoothing
        return pyramid

    def _downsampled(self) -> tuple[Image, Tensor]:
        if self._base is None:
            self._base = downsampled(self.image, self.resolution, self.window)
        return self._base


def downsampled(image: Image, resolution: float, window: tuple[float, float] | None = None) -> tuple[Image, Tensor]:
    """Return block means of the windowed image, float32, and the standard deviation `(D,)` of that smoothing, mm.

    A block has as many voxels along each axis as fit in `resolution` mm, at least one; spare voxels are divided
    between both borders. World positions are exact. For `window` see `smoothed`.
    """
    factors = [min(f, n) for f, n in zip(_downsampling(resolution, image.grid), image.grid.shape, strict=True)]
    axes = [_block_matrix(n, f) for n, f in zip(image.grid.shape, factors, strict=True)]
    smoothing = image.grid.spacing * torch.tensor([math.sqrt((f**2 - 1) / 12) for f in factors], dtype=torch.float64)
    return _multiply(image, window, axes, factors), smoothing


def smoothed(
    image: Image, sigma: float | Tensor, window: tuple[float, float] | None = None, resolution: float | None = None
) -> Image:
    """Return the windowed image smoothed by a Gaussian of `sigma` mm and downsampled, float32.

    `sigma` is one number for all axes, or `(D,)`. Values of `window = (low, high)` are mapped to `(0, 1)` and clamped
    before smoothing. Each axis is downsampled by the largest whole factor that keeps at least one voxel every
    `resolution` mm (default: `sigma`); world positions are exact. Smoothing along an axis is a product with a small
    matrix (a Gaussian row for each output voxel, renormalised at the border). The input is never converted to float as
    a whole.
    """
    sigmas = torch.as_tensor(sigma, dtype=torch.float64).expand(image.dimension)
    factors = _downsampling(sigmas if resolution is None else resolution, image.grid)
    axes = zip(image.grid.shape, image.grid.spacing.tolist(), sigmas.tolist(), factors, strict=True)
    return _multiply(image, window, [_smoothing_matrix(*axis) for axis in axes], factors)


Axis = tuple[Tensor, float]  # a matrix (outputs, inputs), and the input coordinate of the first output


def _multiply(image: Image, window: tuple[float, float] | None, axes: list[Axis], factors: list[int]) -> Image:
    """Multiply the windowed image along each axis by a matrix; outputs are `factors` voxels apart."""
    matrices = [matrix for matrix, _ in axes]
    if can_read_through(image.data):
        voxels = smooth(image.data, window, matrices)
    else:
        voxels = _multiply_slabs(image, window, [matrix.to(image.data.device) for matrix in matrices])
    affine = image.grid.affine.clone()
    affine[:-1, -1] = image.grid.voxel_to_world_points(torch.tensor([first for _, first in axes], dtype=torch.float64))
    affine[:-1, :-1] *= torch.tensor(factors, dtype=torch.float64)
    return Image(voxels, Grid(tuple(voxels.shape), affine), name=image.name)


def _multiply_slabs(image: Image, window: tuple[float, float] | None, matrices: list[Tensor]) -> Tensor:
    """Multiply along every axis, slab by slab along the last one, to convert only slabs to float."""
    slabs = []
    for start, stop in image.grid.slabs(2_000_000):
        slab = _windowed(image.data[..., start:stop], window)
        for axis, matrix in enumerate(matrices[:-1]):
            slab = _multiply_axis(slab, matrix, axis)
        slabs.append(slab)
    return _multiply_axis(torch.cat(slabs, dim=-1), matrices[-1], image.dimension - 1).contiguous()


def _multiply_axis(slab: Tensor, matrix: Tensor, axis: int) -> Tensor:
    return torch.tensordot(slab, matrix, dims=([axis], [1])).movedim(-1, axis)


def _windowed(data: Tensor, window: tuple[float, float] | None) -> Tensor:
    values = data.to(torch.float32)
    if window is None:
        return values
    low, high = window
    return ((values - low) / (high - low)).clamp_(0, 1)


def _downsampling(resolution: float | Tensor, grid: Grid) -> list[int]:
    """Return the number of voxels that fit in `resolution` mm along each axis, at least one."""
    return [max(1, math.floor(f + 1e-6)) for f in (resolution / grid.spacing).tolist()]


def _block_matrix(size: int, factor: int) -> Axis:
    """Return the matrix of means over blocks of `factor` voxels, `(size // factor, size)`, and its first coordinate."""
    count, before = size // factor, size % factor // 2
    rows = torch.eye(count, dtype=torch.float32).repeat_interleave(factor, dim=1) / factor
    return torch.nn.functional.pad(rows, (before, size - before - count * factor)), before + (factor - 1) / 2


def _smoothing_matrix(size: int, spacing: float, sigma: float, factor: int) -> Axis:
    """Return Gaussian rows `(ceil(size / factor), size)` and the input coordinate of the first output voxel."""
    count = math.ceil(size / factor)
    shift = (size - 1 - (count - 1) * factor) / 2
    centres = shift + factor * torch.arange(count, dtype=torch.float64)
    distance = (centres[:, None] - torch.arange(size, dtype=torch.float64)) * spacing
    rows = torch.exp(-0.5 * (distance / max(sigma, 1e-3 * spacing)) ** 2)
    rows[distance.abs() > 4 * max(sigma, 0.25 * spacing)] = 0
    return (rows / rows.sum(dim=1, keepdim=True)).float(), shift
