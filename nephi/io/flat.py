"""Images of one slice in three-dimensional files: nephi's 2-D world is the axial plane."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.io.foreign import naming

AXIAL_TOLERANCE = 1e-4  # sine of the angle between an axis and the x-y plane


def flat_grid(shape: tuple[int, ...], affine: Tensor, path: Path) -> Grid:
    """Return the 2-D grid of a slice of `shape` `(X, Y)` from its 4x4 voxel-to-world matrix; its height is dropped.

    Raises `DataError` naming `path` when the slice does not lie in the world's x-y plane.
    """
    climb = affine[2, :2].abs() / affine[:3, :2].norm(dim=0).clamp(min=1e-300)
    if bool((climb > AXIAL_TOLERANCE).any()):
        raise DataError(
            f"{path}: expected the axes of a 2-D image in the world's x-y plane, found a single slice in another "
            "orientation; rewrite its header as an axial one, or give a volume of several slices"
        )
    plane = torch.tensor([0, 1, 3], dtype=torch.int64)
    with naming(path):
        return Grid(shape, affine[plane][:, plane])
