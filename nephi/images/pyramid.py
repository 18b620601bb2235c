"""Gaussian smoothing to a coarser grid, and levels that share the reading of a large image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.images.image import Image
from nephi.images.sampler import ImageSampler
from nephi.kernels import can_read_through, smooth

LARGE = 20_000_000  # voxels; above, levels are made from a thinned image instead of from the image itself


class Pyramid:
    """Smoothed versions of one windowed image, of whatever smoothing is asked for.

    The voxels of a large image are read once, into an image thinned to `resolution` mm; what is smoothed at least as
    much is made from that one. Variances of smoothing add: by a, then by b, is by `sqrt(a^2 + b^2)`. `resolution` is
    `detail`, the finest detail that anybody will compare (mm), but never below two voxels.
    """

    def __init__(self, image: Image, window: tuple[float, float], detail: float = 0.0) -> None:
        self.image = image
        self.window = window
        self.detail = detail
        edge = float(image.grid.spacing.log().mean().exp())  # of a cube as large as a voxel
        self.resolution = max(detail, 2 * edge) if image.grid.size > LARGE else math.inf
        self._base: tuple[Image, Tensor] | None = None  # with the smoothing it has along each axis

    def at(self, sigma: float) -> Image:
        """Return the image smoothed by `sigma` mm; see `smoothed`."""
        if sigma < self.resolution:
            return smoothed(self.image, sigma, self.window)
        base, had = self._thinned()
        return smoothed(base, (sigma**2 - had**2).clamp_min(0).sqrt(), resolution=sigma)

    def sampler(self, sigma: float, apart: float) -> ImageSampler:
        """Return a lookup of the image smoothed by `sigma` mm, for samples `apart` mm from each other.

        Unsmoothed voxels stay in their own type, and the window acts at lookup. Samples far apart next to the voxels of
        a large image see nothing of the detail between them: they look the thinned image up.
        """
        if sigma:
            return ImageSampler(self.at(sigma))
        if apart / 2 < self.resolution:
            return ImageSampler(self.image, self.window)
        return ImageSampler(self._thinned()[0])

    def shape(self, sigma: float, apart: float) -> tuple[int, ...]:
        """Return the voxels along each axis of what `sampler` looks up, without making it."""
        grid = self.image.grid
        if not sigma:
            factors = _fitting(self.resolution, grid) if apart / 2 >= self.resolution else [1] * grid.dimension
            return tuple(n // min(f, n) for n, f in zip(grid.shape, factors, strict=True))
        if sigma >= self.resolution:
            grid = self._thinned()[0].grid
        return tuple(math.ceil(n / f) for n, f in zip(grid.shape, _fitting(sigma, grid), strict=True))

    def transformed(self, matrix: Tensor) -> Pyramid:
        """Return the pyramid with its image placed elsewhere by a homogeneous world matrix."""
        result = Pyramid(self.image.with_grid(self.image.grid.transformed(matrix)), self.window, self.detail)
        result.resolution = self.resolution  # measured where the image was smoothed
        if self._base is not None:
            base, had = self._base
            result._base = base.with_grid(base.grid.transformed(matrix)), had
        return result

    def _thinned(self) -> tuple[Image, Tensor]:
        if self._base is None:
            self._base = thinned(self.image, self.resolution, self.window)
        return self._base


def thinned(image: Image, resolution: float, window: tuple[float, float] | None = None) -> tuple[Image, Tensor]:
    """Return the windowed image as means of blocks, float32, and the standard deviation `(D,)` in mm this smooths by.

    Blocks are as many voxels along each axis as fit into `resolution` mm, at least one; those left over are shared out
    between both borders. The world frame stays exact. For `window` see `smoothed`.
    """
    factors = [min(f, n) for f, n in zip(_fitting(resolution, image.grid), image.grid.shape, strict=True)]
    axes = [_block_matrix(n, f) for n, f in zip(image.grid.shape, factors, strict=True)]
    smoothing = image.grid.spacing * torch.tensor([math.sqrt((f**2 - 1) / 12) for f in factors], dtype=torch.float64)
    return _through(image, window, axes, factors), smoothing


def smoothed(
    image: Image, sigma: float | Tensor, window: tuple[float, float] | None = None, resolution: float | None = None
) -> Image:
    """Return the windowed image smoothed by a Gaussian of `sigma` mm, on a grid no finer than needed, float32.

    `sigma` is one for all axes, or `(D,)`. Values of `window = (low, high)` are mapped to `(0, 1)` and clamped before
    smoothing. Each axis is thinned by the largest whole factor that keeps at least one voxel every `resolution` mm
    (`sigma`, when omitted); the world frame stays exact. Smoothing along an axis is a product with a small matrix (a
    Gaussian row for each output voxel, renormalised at the border). The input is never held in float as a whole.
    """
    sigmas = torch.as_tensor(sigma, dtype=torch.float64).expand(image.dimension)
    factors = _fitting(sigmas if resolution is None else resolution, image.grid)
    lines = zip(image.grid.shape, image.grid.spacing.tolist(), sigmas.tolist(), factors, strict=True)
    return _through(image, window, [_smoothing_matrix(*line) for line in lines], factors)


Axis = tuple[Tensor, float]  # a matrix (outputs, inputs), and the input coordinate of the first output


def _through(image: Image, window: tuple[float, float] | None, axes: list[Axis], factors: list[int]) -> Image:
    """Multiply the windowed image along each axis; outputs are `factors` voxels apart."""
    matrices = [matrix for matrix, _ in axes]
    if can_read_through(image.data):
        result = smooth(image.data, window, matrices)
    else:
        result = _multiplied(image, window, [matrix.to(image.data.device) for matrix in matrices])
    affine = image.grid.affine.clone()
    affine[:-1, -1] = image.grid.voxel_to_world_points(torch.tensor([first for _, first in axes], dtype=torch.float64))
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


def _fitting(resolution: float | Tensor, grid: Grid) -> list[int]:
    """Return how many voxels fit into `resolution` mm along each axis, at least one."""
    return [max(1, math.floor(f + 1e-6)) for f in (resolution / grid.spacing).tolist()]


def _block_matrix(size: int, factor: int) -> Axis:
    """Return the means of `factor` voxels side by side, `(size // factor, size)`."""
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
