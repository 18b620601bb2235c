"""Vectors of fields that need a second look: undefined ones, and positions in the place of displacements."""

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
    """Replace displacements `(*grid.shape, D)` that are NaN or infinite by that of the nearest voxel in mm, in place.

    SPM writes NaN where its deformations are undefined. Warns of the share of such voxels; raises `DataError` when no
    voxel is left.
    """
    undefined = ~torch.isfinite(displacement).all(dim=-1)
    count = int(undefined.sum())
    if count == 0:
        return
    if count == undefined.numel():
        raise DataError("the field holds no finite vector")
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(
        undefined.numpy(), sampling=grid.spacing.tolist(), return_distances=False, return_indices=True
    )
    places = np.nonzero(undefined.numpy())
    sources = tuple(torch.from_numpy(axis[places].astype(np.int64)) for axis in nearest)
    displacement[tuple(torch.from_numpy(axis) for axis in places)] = displacement[sources]
    warn(
        f"{path}: {count / undefined.numel():.2%} of the voxels have no vector (NaN); points there move as the nearest "
        "voxel that has one"
    )


def warn_of_positions(field: DisplacementField, path: Path, convention: str) -> None:
    """Warn when what was read as displacements grows with position as absolute positions do.

    A least-squares line of each component over its own coordinate has the slope 1 (or -1, in the other frame) for
    positions; displacements with such slopes on all axes would double the image, or shrink it to a point. FSL writes
    both on request and leaves no note of it in the header, so that there positions are refused (`DataError`).
    """
    slopes = _slopes(field)
    if slopes and all(abs(abs(slope) - 1) < SLOPE_TOLERANCE for slope in slopes):
        if convention == "fsl":
            raise DataError(
                f"{path}: expected a relative warp of FSL, found one that looks absolute (the vectors change by "
                f"{_listed(slopes)} mm per mm along the axes); convert it with convertwarp --abs --relout"
            )
        warn(
            f"{path}: read as displacements, but the vectors look like positions (they change by {_listed(slopes)} mm "
            "per mm along the axes); if they are positions in RAS mm, give --transform-format spm"
        )


def warn_of_displacements(field: DisplacementField, path: Path) -> None:
    """Warn when what was read as positions does not grow with position: such positions shrink the image to a point."""
    slopes = [slope + 1 for slope in _slopes(field)]
    if slopes and all(abs(slope) < SLOPE_TOLERANCE for slope in slopes):
        warn(
            f"{path}: read as positions, but the vectors look like displacements (they change by {_listed(slopes)} mm "
            "per mm along the axes); if they are, give --transform-format itk (LPS mm) or slicer (RAS mm)"
        )


def _listed(slopes: list[float]) -> str:
    return ", ".join(f"{slope:.2f}" for slope in slopes)


def _slopes(field: DisplacementField) -> list[float]:
    """Return the slope of each component of the displacement over its own coordinate; none for a single slice."""
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
