"""Checks of field vectors: undefined vectors, and positions that were read as displacements or the reverse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nephi.errors import DataError, warn
from nephi.geometry import Grid
from nephi.transforms import DisplacementField

SAMPLES_PER_AXIS = 16
SLOPE_TOLERANCE = 0.25


def fill_undefined(displacement: Tensor, grid: Grid, path: Path) -> None:
    """Replace NaN and infinite displacements `(*grid.shape, D)` by that of the nearest voxel in mm, in place.

    SPM writes NaN where a deformation is undefined. Warns with the fraction of such voxels; raises `DataError` when no
    voxel has a finite vector.
    """
    undefined = ~torch.isfinite(displacement).all(dim=-1)
    count = int(undefined.sum())
    if count == 0:
        return
    if count == undefined.numel():
        raise DataError("expected a field with finite vectors, found none")
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(
        undefined.numpy(), sampling=grid.spacing.tolist(), return_distances=False, return_indices=True
    )
    targets = np.nonzero(undefined.numpy())
    sources = tuple(torch.from_numpy(axis[targets].astype(np.int64)) for axis in nearest)
    displacement[tuple(torch.from_numpy(axis) for axis in targets)] = displacement[sources]
    warn(
        f"{path}: {count / undefined.numel():.2%} of the voxels have no vector (NaN); the vector of the nearest voxel "
        "that has one was used"
    )


def warn_if_positions(field: DisplacementField, path: Path, convention: str) -> None:
    """Warn when vectors that were read as displacements look like absolute positions.

    The least-squares slope of each component over its own coordinate is 1 for positions (-1 in the other frame).
    Displacements with such slopes on all axes would double the image, or shrink it to a point. FSL writes either kind
    on request without stating it in the header; for FSL, positions raise `DataError`.
    """
    slopes = _slopes(field)
    if slopes and all(abs(abs(slope) - 1) < SLOPE_TOLERANCE for slope in slopes):
        if convention == "fsl":
            raise DataError(
                f"{path}: expected a relative warp of FSL, found one that looks absolute (the vectors change by "
                f"{_format_slopes(slopes)} mm per mm along the axes); convert it with convertwarp --abs --relout"
            )
        warn(
            f"{path}: read as displacements, but the vectors look like positions (they change by "
            f"{_format_slopes(slopes)} mm per mm along the axes); if they are positions in RAS mm, give "
            "--transform-format spm"
        )


def warn_if_displacements(field: DisplacementField, path: Path) -> None:
    """Warn when vectors that were read as positions look like displacements: their slopes over position are 0."""
    slopes = [slope + 1 for slope in _slopes(field)]
    if slopes and all(abs(slope) < SLOPE_TOLERANCE for slope in slopes):
        warn(
            f"{path}: read as positions, but the vectors look like displacements (they change by "
            f"{_format_slopes(slopes)} mm per mm along the axes); if they are displacements, give "
            "--transform-format itk (LPS mm) or slicer (RAS mm)"
        )


def _format_slopes(slopes: list[float]) -> str:
    return ", ".join(f"{slope:.2f}" for slope in slopes)


def _slopes(field: DisplacementField) -> list[float]:
    """Compute the least-squares slope of each displacement component over its coordinate; empty for a single slice."""
    if min(field.grid.shape) < 2:
        return []
    axes = [
        torch.linspace(0, n - 1, min(n, SAMPLES_PER_AXIS), dtype=torch.float64).round().long() for n in field.grid.shape
    ]
    voxel = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    u = field.displacement[tuple(voxel.unbind(-1))].reshape(-1, field.dimension).double()
    x = field.grid.voxel_to_world_points(voxel.double()).reshape(-1, field.dimension)
    x, u = x - x.mean(dim=0), u - u.mean(dim=0)
    slopes: list[float] = ((x * u).sum(dim=0) / (x * x).sum(dim=0)).tolist()
    return slopes
