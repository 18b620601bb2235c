"""Whether landmarks lie in their images, and whether their frame and their columns are what they seem to be."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.errors import DataError, PlausibilityWarning, warn
from nephi.geometry import Grid, PointMap, PointPairs, Points
from nephi.metrics.landmarks import LandmarkErrors, landmark_errors

MARGIN = 1.5  # voxels beyond the outermost centres: points on a border, rounded
MOST = 0.9  # of the points: in a frame where so many lie inside, they are meant
FAR_WORSE = 2.0  # times the error before: no registration, but a transform of other images, or points in cm
NOTABLE = 0.02  # of the diagonal of the box around the points
CLEARLY = 0.5  # times the error: another reading of the points that fits so much better is meant

VOXELS = (
    "they look like voxels of the image: convert them to mm, or give the points of each image in a file of their own, "
    "as elastix' index or with --points-format dirlab (counted from 1), and --points-reference"
)


def check_landmarks(pairs: PointPairs, fixed: Grid | None, moving: Grid | None) -> None:
    """Issue a `PlausibilityWarning` when landmarks (world mm, RAS) lie outside of the images' grids; None: not checked.

    The text gives their number, and another frame in which they lie inside, if there is one. Raises `DataError` when
    all points of one image lie outside of it.
    """
    for side, points, grid in (("fixed", pairs.fixed, fixed), ("moving", pairs.moving, moving)):
        if grid is not None and grid.dimension == points.dimension:
            _check_side(side, points, grid)


def _check_side(side: str, points: Points, grid: Grid) -> None:
    outside = ~_inside(points.coordinates, grid)
    count = int(outside.sum())
    if count == 0:
        return
    first = points.ids[int(outside.nonzero()[0])]
    place = ", ".join(f"{x:.1f}" for x in points.coordinates[int(outside.nonzero()[0])].tolist())
    problem = f"expected {side} points inside the {side} image, found {count} of {len(points)} outside of it"
    text = (
        f"landmarks: {problem}, the first is landmark {first} at ({place}) RAS mm; {_advice(points.coordinates, grid)}"
    )
    if count == len(points):
        raise DataError(text)
    warn(text, PlausibilityWarning)


def _advice(points: Tensor, grid: Grid) -> str:
    """Return in which other frame most of the points lie inside, as advice."""
    flipped = _flipped(points)
    if _share(_inside(flipped, grid)) >= MOST:
        return "with x and y reversed they lie inside: give --frame ras where it was lps, or lps where it was ras"
    for scale, advice in (
        (1.0, VOXELS),
        (1 / grid.spacing, "they look like mm from the image's first voxel: add its position, along the image's axes"),
    ):
        if max(_share(_inside_voxels(scale * values, grid)) for values in (points, flipped)) >= MOST:
            return advice
    return "check that they belong to these images, and their frame (--frame)"


def check_landmark_errors(transform: PointMap, pairs: PointPairs, errors: LandmarkErrors) -> None:
    """Issue a `PlausibilityWarning` when errors grew, and another reading of the same points fits clearly better.

    That is fixed and moving points exchanged, or x and y reversed (LPS for RAS). Errors that grew to more than twice
    of what they were are warned of in any case, unless they are small beside the distances between the points.
    """
    after, before = float(errors.after.mean()), float(errors.before.mean())
    if after <= before:
        return
    fixed, moving = pairs.fixed.coordinates, pairs.moving.coordinates
    readings = {
        "with fixed and moving points exchanged; check the columns or files, and that the transform takes fixed points "
        "to the moving image ('[FILE,1]' is its inverse)": (moving, fixed),
        "with x and y reversed; give --frame ras where it was lps, or lps where it was ras": (
            _flipped(fixed),
            _flipped(moving),
        ),
    }
    means = {
        name: float(landmark_errors(transform, PointPairs.from_coordinates(*sides)).after.mean())
        for name, sides in readings.items()
    }
    best = min(means, key=means.__getitem__)
    problem = f"expected smaller errors than the {before:.2f} mm before, found {after:.2f} mm"
    spread = float((fixed.amax(dim=0) - fixed.amin(dim=0)).norm())
    if means[best] < min(CLEARLY * after, before):
        warn(f"landmarks: {problem}, but {means[best]:.2f} mm {best}", PlausibilityWarning)
    elif after > max(FAR_WORSE * before, NOTABLE * spread):
        advice = "check their unit (mm), and that they and the transform belong to the same images and direction"
        warn(f"landmarks: {problem}; {advice}", PlausibilityWarning)


def _inside(points_world: Tensor, grid: Grid) -> Tensor:
    return _inside_voxels(grid.world_to_voxel_points(points_world), grid)


def _inside_voxels(points_voxel: Tensor, grid: Grid) -> Tensor:
    upper = torch.tensor(grid.shape, dtype=torch.int64).to(points_voxel) - 1
    return ((points_voxel >= -MARGIN) & (points_voxel <= upper + MARGIN)).all(dim=-1)


def _flipped(points: Tensor) -> Tensor:
    return points * points.new_tensor([-1.0, -1.0, 1.0][: points.shape[-1]])


def _share(chosen: Tensor) -> float:
    return float(chosen.double().mean())
