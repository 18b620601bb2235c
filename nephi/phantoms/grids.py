"""Grids of phantoms, and rotation matrices for them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nephi.geometry import Grid


def field_of_view(shape: Sequence[int], extent: Sequence[float], centre: Sequence[float], axes: Tensor) -> Grid:
    """Return a grid of `shape` voxels that covers `extent` mm (per voxel axis) around `centre` (world mm).

    The columns of `axes` `(D, D)` are the world directions of the voxel axes.
    """
    counts = torch.tensor(shape, dtype=torch.float64)
    affine = torch.eye(len(shape) + 1, dtype=torch.float64)
    affine[:-1, :-1] = axes.double() * (torch.tensor(extent, dtype=torch.float64) / counts)
    affine[:-1, -1] = torch.tensor(centre, dtype=torch.float64) - affine[:-1, :-1] @ ((counts - 1) / 2)
    return Grid(tuple(shape), affine)


def rotation(*angles: float) -> Tensor:
    """Return a rotation matrix, float64: `(2, 2)` for one angle, `(3, 3)` for a rotation vector of three; rad."""
    a, b, c = (0.0, 0.0, *angles)[-3:]  # one angle: around z
    generator = torch.tensor([[0.0, -c, b], [c, 0.0, -a], [-b, a, 0.0]], dtype=torch.float64)
    matrix: Tensor = torch.linalg.matrix_exp(generator)
    return matrix if len(angles) == 3 else matrix[:2, :2]
