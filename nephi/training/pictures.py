"""Figures of validated pairs as tensors, without a plotting library."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.metrics import is_folded
from nephi.training.validation import ValidatedPair

LINES = 12  # of the deformed grid along the longest edge
FRAME = 2  # black pixels between panels


def panels(pair: ValidatedPair, grid: Grid) -> Tensor:
    """Return `(3, height, width)`: fixed, moving and warped image, the deformed grid, and the Jacobian determinant.

    In 3-D the middle coronal slice (across the second axis); right is right, up is superior or anterior. The colours
    of the determinant are logarithmic, from blue (0.5) over white (1) to red (2); folds are black.
    """
    grey = [_slice(image[0])[None].expand(3, -1, -1) for image in (pair.fixed, pair.moving, pair.warped)]
    lines = _slice(_lines(pair.displaced, grid))[None].expand(3, -1, -1)
    jacobian = _colour(_slice(pair.determinants[0]))
    padded = [torch.nn.functional.pad(each, (0, FRAME)) for each in (*grey, lines, jacobian)]
    return torch.cat(padded, dim=-1).clamp(0, 1)


def _slice(volume: Tensor) -> Tensor:
    """Return a figure with rows from the top: `(n_1, n_2)` or `(n_1, n_2, n_3)` to `(last axis, first axis)`."""
    plane = volume if volume.ndim == 2 else volume[:, volume.shape[1] // 2]
    return plane.T.flip(0)


def _lines(displaced: Tensor, grid: Grid) -> Tensor:
    """Return a volume that is dark where phi maps a voxel to a line of a regular grid in the moving image."""
    pitch = float((grid.spacing * torch.tensor(grid.shape, dtype=torch.int64)).max()) / LINES
    axes = [0, 1] if grid.dimension == 2 else [0, 2]
    distances = (displaced[:, axes] / pitch + 0.5) % 1 - 0.5  # to the closest line, in pitches
    width = float(grid.spacing.max()) / pitch
    brightness = (distances.abs() / width).amin(dim=-1)
    return brightness.clamp(0, 1).reshape(grid.shape)


def _colour(determinants: Tensor) -> Tensor:
    logs = (determinants.clamp_min(1e-6).log2()).clamp(-1, 1)
    colours = torch.stack([1 + logs.clamp_max(0), 1 - logs.abs(), 1 - logs.clamp_min(0)])
    return colours * ~is_folded(determinants)
