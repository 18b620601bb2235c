"""Conversion between LPS (ITK, DICOM) and RAS (nephi, NIfTI) world millimetres, and grids with sheared axes.

The frames differ in the sign of x and y, in 3-D and in 2-D; the conversion is its own inverse, and the same for points
and for vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry.grid import Grid

SHEAR_TOLERANCE = 1e-4  # cosine between axes; ITK accepts such a NIfTI sform (measured: 1e-4 yes, 5e-4 no)


def flip_points(points: Tensor) -> Tensor:
    """Convert points or vectors `(..., D)` from LPS to RAS, or from RAS to LPS."""
    signs = torch.ones(points.shape[-1], dtype=points.dtype, device=points.device)
    signs[:2] = -1
    return points * signs


def flip_matrix(dimension: int) -> Tensor:
    """Return the homogeneous `(D + 1, D + 1)` float64 matrix that converts LPS to RAS and RAS to LPS."""
    return torch.diag(torch.tensor([*[-1.0, -1.0, 1.0][:dimension], 1.0], dtype=torch.float64))


def points_from(frame: str, points: Tensor) -> Tensor:
    """Convert points `(..., D)` between RAS and `frame` (`lps` or `ras`); raise `UsageError` for any other frame."""
    if frame not in ("lps", "ras"):
        raise UsageError(f"frame: expected lps (ITK, ANTs, DICOM) or ras (NIfTI, nibabel), got {frame!r}")
    return flip_points(points) if frame == "lps" else points


def is_sheared(grid: Grid) -> bool:
    """Return whether two axes of the grid are not perpendicular."""
    cosines = grid.direction.T @ grid.direction - torch.eye(grid.dimension, dtype=torch.float64)
    return bool(cosines.abs().max() > SHEAR_TOLERANCE)


def require_perpendicular(grid: Grid, path: object, what: str) -> None:
    """Raise `DataError` naming the file when the grid is sheared, which `what` cannot represent."""
    if is_sheared(grid):
        raise DataError(
            f"{path}: expected perpendicular axes for {what}, found a sheared grid (a tilted gantry?); "
            "resample the image to an unsheared grid first"
        )
