"""The images of a step: resampled to its grid, and warped by the maps of other steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nephi.geometry import Grid, full_precision, interpolate_batch
from nephi.transforms import Maps


def resampled(images: Tensor, grid: Grid, target: Grid) -> Tensor:
    """Return images `(B, 1, *shape)` on `grid` at the voxels of `target`, averaged over about a voxel of it."""
    if target.same_as(grid):
        return images
    return resized(averaged(images, target, grid), grid, target)


def warped(images: Tensor, grid: Grid, target: Grid, maps: Maps, nodes: Grid) -> Tensor:
    """Return images `(B, 1, *shape)` on `grid` warped by `maps`, `image(phi(x))` at the voxels x of `target`.

    The maps are evaluated on `nodes`, where these are fewer than the voxels, and interpolated in between: an eighth of
    the work, and an image that differs little. A prediction itself is never interpolated.
    """
    if not target.same_as(grid):
        images = averaged(images, target, grid)
    centres = _centres(target, images)
    if nodes.size >= target.size:
        return _interpolated(images, grid, target, maps(centres))
    points = _centres(nodes, images)
    displacement = (maps(points) - points).transpose(1, 2).reshape(len(images), -1, *nodes.shape)
    finer = resized(displacement, nodes, target)
    return _interpolated(images, grid, target, centres + finer.flatten(2).transpose(1, 2))


def _centres(grid: Grid, images: Tensor) -> Tensor:
    """Return the world positions `(B, N, D)` of the voxels of `grid`, for each of the images."""
    return grid.voxel_centres().to(images).reshape(1, -1, grid.dimension).expand(len(images), -1, -1)


def _interpolated(images: Tensor, grid: Grid, target: Grid, points: Tensor) -> Tensor:
    return interpolate_batch(images, grid, points).reshape(len(images), 1, *target.shape)


def downsampled(grid: Grid, factor: int) -> Grid:
    """Return a grid of about every `factor`-th voxel along each axis, with the same outermost voxel centres."""
    shape = tuple(min(n, max(2, -(-n // factor))) for n in grid.shape)
    scale = [(n - 1) / (m - 1) if m > 1 else 1.0 for n, m in zip(grid.shape, shape, strict=True)]
    return Grid(shape, grid.affine @ torch.diag(torch.tensor([*scale, 1.0], dtype=torch.float64)))


def strided(grid: Grid, factor: int) -> Grid:
    """Return a grid of exactly every `factor`-th voxel along each axis, about the same centre, that covers the box.

    Shifts by whole voxels of it are shifts by whole voxels of `grid`. Its outermost voxels may lie up to half a step
    outside of the box.
    """
    shape = tuple(-(-(n - 1) // factor) + 1 for n in grid.shape)
    matrix = torch.diag(torch.tensor([*[float(factor)] * grid.dimension, 1.0], dtype=torch.float64))
    for axis, (fine, coarse) in enumerate(zip(grid.shape, shape, strict=True)):
        matrix[axis, -1] = ((fine - 1) - factor * (coarse - 1)) / 2
    return Grid(shape, grid.affine @ matrix)


@full_precision()
def resized(values: Tensor, source: Grid, target: Grid) -> Tensor:
    """Return values `(B, C, *shape)` on `source` interpolated linearly at the voxels of `target`, which has its axes.

    Beyond the source the border continues. As a product with a matrix for each axis, it takes a tenth of the time of
    interpolation at points.
    """
    to_source = source.inverse_affine @ target.affine
    for axis, (count, last) in enumerate(zip(target.shape, (n - 1 for n in source.shape), strict=True)):
        position = to_source[axis, axis] * torch.arange(count, dtype=torch.float64) + to_source[axis, -1]
        weights = (1 - (position.clamp(0, last)[:, None] - torch.arange(last + 1, dtype=torch.float64)).abs()).relu()
        values = (values.movedim(axis + 2, -1) @ weights.T.to(values)).movedim(-1, axis + 2)
    return values


def averaged(images: Tensor, coarse: Grid, fine: Grid) -> Tensor:
    """Return images `(B, 1, *shape)` on the `fine` grid, averaged over about a voxel of the `coarse` grid.

    Without it, structures finer than the coarse grid would alias when the images are downsampled.
    """
    # Odd widths, so that nothing is shifted.
    widths = [2 * round(n / (2 * m)) + 1 for n, m in zip(fine.shape, coarse.shape, strict=True)]
    pool = nn.functional.avg_pool2d if fine.dimension == 2 else nn.functional.avg_pool3d
    for axis, width in enumerate(widths):  # one axis after the other: 15 voxels instead of 125 for a width of 5
        window = [width if each == axis else 1 for each in range(fine.dimension)]
        images = pool(images, window, stride=1, padding=[w // 2 for w in window], count_include_pad=False)
    return images
