"""Target registration error of landmarks, and plausibility checks: position, frame, order of columns, unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nephi.argument_types import checked
from nephi.errors import DataError, PlausibilityWarning, warn
from nephi.geometry import Grid, PointMap, PointPairs, Points
from nephi.io import PointPairsLike, as_point_pairs
from nephi.runtime import caller_threads

MARGIN = 1.5  # voxels beyond the outermost centres that count as inside: rounded points on a border
FRAME_FRACTION = 0.9  # a frame in which this fraction of the points lies inside is suggested
GROWTH = 2.0  # error after over error before that indicates a transform of other images, or points in cm
NOTABLE_FRACTION = 0.02  # of the diagonal of the points' bounding box: smaller errors raise no warning
READING_RATIO = 0.5  # another reading of the points is suggested when its error is below this fraction

VOXELS = (
    "they look like voxels of the image: convert them to mm, or give the points of each image in a file of their own, "
    "as elastix' index or with --points-format dirlab (counted from 1), and --points-reference"
)


@dataclass(frozen=True, eq=False)
class LandmarkErrors:
    """Distances in mm, unrounded, one per landmark: `before` any registration and `after` the transform."""

    before: Tensor
    after: Tensor

    def __repr__(self) -> str:
        """Return number, mean and maximum in one line."""
        if not len(self.after):
            return "LandmarkErrors(0 landmarks)"
        mean, largest, before = self.after.mean(), self.after.max(), self.before.mean()
        return f"LandmarkErrors({len(self.after)} landmarks: {mean:.3f} mm, at most {largest:.3f}; {before:.3f} before)"

    def summary(self) -> dict[str, float]:
        """Return the count, the mean, median, 90th percentile and maximum of `after`, and the mean of `before`, mm."""
        return {
            "count": len(self.after),
            "mean": self.after.mean().item(),
            "median": torch.quantile(self.after, 0.5).item(),
            "p90": torch.quantile(self.after, 0.9).item(),
            "max": self.after.max().item(),
            "before": self.before.mean().item(),
        }

    def table(self) -> dict[str, Any]:
        """Return the summary and, as `each`, the errors after, as a dictionary for JSON."""
        return {**self.summary(), "each": self.after.tolist()}


@checked
@caller_threads()
def landmark_errors(transform: PointMap, pairs: PointPairsLike) -> LandmarkErrors:
    """Return `|phi(fixed) - moving|` for every pair; `transform` maps fixed to moving points (world mm).

    `pairs` may be a file or the points of both images (see `register`). Points are not rounded to voxel centres.
    """
    pairs = as_point_pairs(pairs)
    fixed, moving = pairs.fixed.coordinates, pairs.moving.coordinates
    with torch.no_grad():
        return LandmarkErrors((fixed - moving).norm(dim=-1), (transform(fixed) - moving).norm(dim=-1))


def check_landmarks(pairs: PointPairs, fixed: Grid | None, moving: Grid | None) -> None:
    """Issue a `PlausibilityWarning` when landmarks (world mm, RAS) lie outside of the images' grids (None: unchecked).

    The message states their number and, if one exists, another frame in which they lie inside. Raises `DataError` when
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
    first = int(outside.nonzero()[0])
    position = ", ".join(f"{x:.1f}" for x in points.coordinates[first].tolist())
    message = (
        f"landmarks: expected {side} points inside the {side} image, found {count} of {len(points)} outside of it, the "
        f"first is landmark {points.ids[first]} at ({position}) RAS mm; {_advice(points.coordinates, grid)}"
    )
    if count == len(points):
        raise DataError(message)
    warn(message, PlausibilityWarning)


def _advice(points: Tensor, grid: Grid) -> str:
    """Return advice that names another frame in which most of the points lie inside, if one exists."""
    flipped = _flipped(points)
    if _fraction(_inside(flipped, grid)) >= FRAME_FRACTION:
        return "with x and y reversed they lie inside: use --frame ras instead of lps, or vice versa"
    for scale, advice in (
        (1.0, VOXELS),
        (1 / grid.spacing, "they look like mm from the image's first voxel: add its position, along the image's axes"),
    ):
        if max(_fraction(_inside_voxels(scale * values, grid)) for values in (points, flipped)) >= FRAME_FRACTION:
            return advice
    return "check that they belong to these images, and their frame (--frame)"


def check_landmark_errors(transform: PointMap, pairs: PointPairs, errors: LandmarkErrors) -> None:
    """Issue a `PlausibilityWarning` when errors grew and another reading of the same points fits clearly better.

    Readings are: fixed and moving points exchanged, and x and y reversed (LPS for RAS). Without such a reading, warns
    when errors more than doubled and are not small compared with the extent of the points.
    """
    after, before = float(errors.after.mean()), float(errors.before.mean())
    if after <= before:
        return
    fixed, moving = pairs.fixed.coordinates, pairs.moving.coordinates
    readings = {
        "with fixed and moving points exchanged; check the columns or files, and that the transform maps fixed points "
        "to the moving image ('[FILE,1]' is its inverse)": (moving, fixed),
        "with x and y reversed; use --frame ras instead of lps, or vice versa": (
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
    extent = float((fixed.amax(dim=0) - fixed.amin(dim=0)).norm())
    if means[best] < min(READING_RATIO * after, before):
        warn(f"landmarks: {problem}, but {means[best]:.2f} mm {best}", PlausibilityWarning)
    elif after > max(GROWTH * before, NOTABLE_FRACTION * extent):
        advice = "check their unit (mm), and that they and the transform belong to the same images and direction"
        warn(f"landmarks: {problem}; {advice}", PlausibilityWarning)


def _inside(points_world: Tensor, grid: Grid) -> Tensor:
    return _inside_voxels(grid.world_to_voxel_points(points_world), grid)


def _inside_voxels(points_voxel: Tensor, grid: Grid) -> Tensor:
    upper = torch.tensor(grid.shape, dtype=torch.int64).to(points_voxel) - 1
    return ((points_voxel >= -MARGIN) & (points_voxel <= upper + MARGIN)).all(dim=-1)


def _flipped(points: Tensor) -> Tensor:
    return points * points.new_tensor([-1.0, -1.0, 1.0][: points.shape[-1]])


def _fraction(inside: Tensor) -> float:
    return float(inside.double().mean())
