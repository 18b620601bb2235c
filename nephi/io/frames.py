"""The frame of ITK and the frame of nephi: LPS and RAS world millimetres.

They differ in the sign of x and y, in 3-D and in 2-D. The same flip goes both ways, for points and for vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid

SHEAR_TOLERANCE = 1e-4  # cosine between axes; ITK still takes such a NIfTI sform exactly (measured: 1e-4 yes, 5e-4 no)


def flip_points(points: Tensor) -> Tensor:
    """Take points or vectors `(..., D)` from LPS to RAS, or from RAS to LPS."""
    signs = torch.ones(points.shape[-1], dtype=points.dtype, device=points.device)
    signs[:2] = -1
    return points * signs


def flip_matrix(dimension: int) -> Tensor:
    """Return the homogeneous `(D + 1, D + 1)` float64 matrix that takes LPS to RAS and RAS to LPS."""
    return torch.diag(torch.tensor([*[-1.0, -1.0, 1.0][:dimension], 1.0], dtype=torch.float64))


def points_from(frame: str, points: Tensor) -> Tensor:
    """Take points `(..., D)` between RAS and `frame` (`lps` or `ras`); raises `UsageError` for another frame."""
    if frame not in ("lps", "ras"):
        raise UsageError(f"unknown frame {frame!r}: choose lps (ITK, ANTs, DICOM) or ras (NIfTI, nibabel)")
    return flip_points(points) if frame == "lps" else points


def is_sheared(grid: Grid) -> bool:
    """Tell whether two axes of the grid are not perpendicular."""
    cosines = grid.direction.T @ grid.direction - torch.eye(grid.dimension, dtype=torch.float64)
    return bool(cosines.abs().max() > SHEAR_TOLERANCE)


def require_perpendicular(grid: Grid, path: object, what: str) -> None:
    """Raise `DataError` naming the file when the grid's axes are sheared, which `what` cannot hold."""
    if is_sheared(grid):
        raise DataError(
            f"{path}: {what} needs perpendicular axes, found a sheared grid (a tilted gantry?); "
            "resample the image to an unsheared grid first"
        )
