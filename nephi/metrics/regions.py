"""The foreground of an image, on a lattice of few points."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nephi.geometry import Grid

BINS = 64  # of the histogram of intensities


def thinned(grid: Grid, most: int) -> Grid:
    """Return the grid of every n-th voxel along each axis that has about `most` voxels at most.

    n differs between axes, so that the steps have similar lengths in mm. Its centre is that of `grid`, to half a voxel:
    between two voxels a mask would be that of one of them, always on the same side.
    """
    if grid.size <= most:
        return grid
    edge = float(grid.spacing.double().log().mean().exp()) * (grid.size / most) ** (1 / grid.dimension)
    steps = [max(1, min(n, round(edge / s))) for n, s in zip(grid.shape, grid.spacing.tolist(), strict=True)]
    shape = tuple(math.ceil(n / step) for n, step in zip(grid.shape, steps, strict=True))
    first = [(n - 1 - (count - 1) * step) // 2 for n, count, step in zip(grid.shape, shape, steps, strict=True)]
    affine = grid.affine * torch.tensor([*steps, 1.0], dtype=torch.float64)
    affine[:-1, -1] = grid.voxel_to_world_points(torch.tensor(first, dtype=torch.float64))
    return Grid(shape, affine, grid.plane)


def foreground(values: Tensor, reference: Tensor) -> Tensor:
    """Return which of `values` `(*shape)` belong to the foreground of an image, whose lattice of values is `reference`.

    The threshold is that of Otsu (1979). The background is the class of most values at the border of `reference`,
    `(*shape)`: in a scan it is dark, on a slide bright.
    """
    threshold = _otsu(reference)
    border = torch.cat([reference.select(axis, end).flatten() for axis in range(reference.ndim) for end in (0, -1)])
    is_bright = float((border > threshold).double().mean()) <= 0.5
    return values > threshold if is_bright else values <= threshold


def _otsu(values: Tensor) -> float:
    """Return the threshold that separates values in 0 to 1 into two classes of the largest variance between them."""
    counts = torch.histc(values.double(), BINS, 0.0, 1.0)
    levels = (torch.arange(BINS, dtype=torch.float64) + 0.5) / BINS
    below, moment = counts.cumsum(0)[:-1], (counts * levels).cumsum(0)[:-1]
    total, mean = counts.sum(), (counts * levels).sum() / counts.sum().clamp_min(1)
    between = (mean * below - moment).square() / (below * (total - below)).clamp_min(1)
    return float((between.argmax() + 1) / BINS)
