"""How far a registration follows the landmarks and labels that guided it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nephi.errors import warn
from nephi.geometry import PointMap, PointPairs, interpolate_nearest
from nephi.losses import robust_scale, squared_excess
from nephi.metrics import landmark_errors
from nephi.preparation import Pair
from nephi.report import RegistrationResult
from nephi.sampling import LabelBoundaries
from nephi.settings import GuidanceSettings
from nephi.transforms import Transform

VOXELS = 500_000  # of the fixed label map at which labels are counted: Dice to about 0.01 for 1 % of them
FAR = 10.0  # accuracies (5 voxels): beyond it, half of the landmarks did not come together
MOST_NAMED = 5  # landmarks or labels in a warning; the report lists all


def guidance_report(registration: RegistrationResult) -> dict[str, Any]:
    """Return `guidance` of report.json, empty for a registration without landmarks and labels that guide it.

    Landmarks that are left unmatched are listed, and named in a `DataWarning`, as labels without overlap are.
    """
    pair, weights = registration.pair, registration.settings.guidance
    table = {}
    if pair.guidance.landmarks is not None:
        table["landmarks"] = _landmark_table(registration.transform, pair.guidance.landmarks, pair, weights)
    if pair.guidance.labels is not None:
        table["labels"] = _label_table(registration.transform, *pair.guidance.labels, weights)
    return {"guidance": table} if table else {}


def unmatched_landmarks(transform: PointMap, pairs: PointPairs, accuracy: float) -> tuple[list[int], float]:
    """Return the indices of the landmarks that are left unmatched, and the largest distance of the others, mm.

    These are beyond the `accuracy` of the points, mm, by more than the scale of the robust distance of the fit.
    """
    errors = landmark_errors(transform, pairs).after
    limit = accuracy + float(robust_scale(squared_excess(errors.square(), accuracy), 2 * accuracy))
    return (errors > limit).nonzero().flatten().tolist(), limit


def _landmark_table(transform: Transform, pairs: PointPairs, pair: Pair, settings: GuidanceSettings) -> dict[str, Any]:
    errors = landmark_errors(transform, pairs)
    accuracy = pair.landmark_accuracy(settings)
    indices, limit = unmatched_landmarks(transform, pairs, accuracy)
    unmatched = [
        {"id": pairs.fixed.ids[i], "before": errors.before[i].item(), "after": errors.after[i].item()} for i in indices
    ]
    if unmatched:
        names = _some([str(row["id"]) for row in unmatched])
        warn(
            f"guiding landmarks: {len(unmatched)} of {len(pairs)} pairs contradict the others or the images and were "
            f"left unmatched, more than {limit:.3g} mm apart: {names}; check them"
        )
    after, before = float(errors.after.median()), float(errors.before.median())
    if after > max(FAR * accuracy, before / 2):  # the robust scale grows with them, and none counts as unmatched
        warn(
            f"guiding landmarks: half of the {len(pairs)} pairs are still {after:.3g} mm apart or more "
            f"({before:.3g} mm before); check that they are pairs of these images, in this order, and their frame "
            "(--frame)"
        )
    return {"weight": settings.landmarks, **errors.table(), "limit": limit, "unmatched": unmatched}


def _some(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _label_table(
    transform: Transform, fixed: LabelBoundaries, moving: LabelBoundaries, settings: GuidanceSettings
) -> dict[str, Any]:
    after, before = _overlaps(transform, fixed, moving), _overlaps(lambda points: points, fixed, moving)
    if apart := [str(label) for label in fixed.labels[after == 0].tolist()]:
        warn(
            f"guiding labels: {len(apart)} of {len(after)} do not overlap after the registration: "
            f"{_some(apart)}; check that both maps use the same numbers, and the initial alignment"
        )
    return {
        "fixed": fixed.image.name,
        "moving": moving.image.name,
        "weight": settings.labels,
        "mean": float(after.nanmean()),
        "before": float(before.nanmean()),
        "labels": {
            str(label): None if math.isnan(value) else value
            for label, value in zip(fixed.labels.tolist(), after.tolist(), strict=True)
        },
    }


@torch.no_grad()
def _overlaps(transform: PointMap, fixed: LabelBoundaries, moving: LabelBoundaries) -> Tensor:
    """Estimate the Dice coefficients `(L,)` of the labels at equidistant voxels of the fixed label map.

    NaN for a label that none of these voxels has, in either map.
    """
    grid, target = fixed.image.grid, moving.image.grid
    stride, size = max(1, math.ceil(grid.size / VOXELS)), len(fixed.labels) + 1
    counts = torch.zeros(3, size, dtype=torch.float64)
    for start, stop in grid.slabs():
        points = grid.voxel_centres(start, stop).reshape(-1, grid.dimension)[::stride]
        one = fixed.image.data[..., start:stop].reshape(-1)[::stride]
        voxels = target.world_to_voxel_points(transform(points))
        other = torch.where(target.contains_voxel_points(voxels), interpolate_nearest(moving.image.data, voxels), 0)
        rows = [_rows(fixed.labels, labels) for labels in (one, other)]
        both = torch.where(rows[0] == rows[1], rows[0], 0)
        counts += torch.stack([torch.bincount(each, minlength=size) for each in (*rows, both)])
    return 2 * counts[2, 1:] / (counts[0, 1:] + counts[1, 1:])


def _rows(labels: Tensor, values: Tensor) -> Tensor:
    """Return one more than the position of each value among `labels`, ascending; 0 for other values."""
    numbers = values.long()
    rows = torch.searchsorted(labels, numbers).clamp_max(len(labels) - 1)
    return torch.where(labels[rows] == numbers, rows + 1, 0)
