"""Where the voxels of a phantom lie."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nephi.geometry import Grid


def field_of_view(shape: Sequence[int], extent: Sequence[float], centre: Sequence[float], axes: Tensor) -> Grid:
    """Return a grid of `shape` voxels that fill `extent` mm (per voxel axis) around `centre` (world mm).

    `axes` holds the world direction of each voxel axis in its columns, `(D, D)`.
    """
    counts = torch.tensor(shape, dtype=torch.float64)
    affine = torch.eye(len(shape) + 1, dtype=torch.float64)
    affine[:-1, :-1] = axes.double() * (torch.tensor(extent, dtype=torch.float64) / counts)
    affine[:-1, -1] = torch.tensor(centre, dtype=torch.float64) - affine[:-1, :-1] @ ((counts - 1) / 2)
    return Grid(tuple(shape), affine)


def rotation(*angles: float) -> Tensor:
    """Return a rotation matrix, float64: `(2, 2)` by one angle, `(3, 3)` by a rotation vector; rad."""
    a, b, c = (0.0, 0.0, *angles)[-3:]  # in the plane: around z
    generator = torch.tensor([[0.0, -c, b], [c, 0.0, -a], [-b, a, 0.0]], dtype=torch.float64)
    turned: Tensor = torch.linalg.matrix_exp(generator)
    return turned if len(angles) == 3 else turned[:2, :2]
