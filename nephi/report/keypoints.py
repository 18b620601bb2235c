"""Keypoints of a registration by keypoints: read from its record, and drawn on the report page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nephi.geometry import PointPairs
from nephi.report.colours import ERRORS, hexadecimal, interpolate_colours
from nephi.report.landmarks import Mark, error_ramp, point_marks
from nephi.report.planes import Planes
from nephi.transforms import Transform


@dataclass(frozen=True, eq=False)
class RecordedKeypoints:
    """Keypoints of both images (world mm, RAS), and their weights from 0 to 1."""

    pairs: PointPairs
    weights: list[float]


@dataclass(frozen=True, eq=False)
class KeypointPage:
    """Keypoints as discs (`marks`, one list a view): their size shows the weight, their colour the distance.

    The distance, mm, is that of a keypoint of the fixed image, transformed, from that of the moving image; `largest` is
    that of the red end of the colours `ramp`, `mean` weighs the keypoints.
    """

    marks: list[list[Mark]]
    ramp: list[str]
    count: int
    mean: float
    largest: float


def recorded_keypoints(about: Mapping[str, Any], dimension: int) -> RecordedKeypoints | None:
    """Return the keypoints in the record of a transform; None where it holds none of this dimension."""
    table = about.get("keypoints")
    try:
        fixed, moving, weights = (
            torch.tensor(table[name], dtype=torch.float64)  # type: ignore[index]
            for name in ("fixed", "moving", "weights")
        )
    except (LookupError, TypeError, ValueError):
        return None
    shape = (len(weights.reshape(-1)), dimension)
    if weights.ndim != 1 or not len(weights) or fixed.shape != shape or moving.shape != shape:
        return None
    if not all(bool(values.isfinite().all()) for values in (fixed, moving, weights)):
        return None
    return RecordedKeypoints(PointPairs.from_coordinates(fixed, moving), weights.clamp(0, 1).tolist())


def keypoint_page(transform: Transform, keypoints: RecordedKeypoints, views: list[Planes]) -> KeypointPage:
    """Compute the distances of keypoints under `transform` (fixed to moving points), with discs at the fixed ones."""
    fixed, moving = keypoints.pairs.fixed.coordinates, keypoints.pairs.moving.coordinates
    with torch.no_grad():
        distances = (transform(fixed.double()) - moving).norm(dim=-1).double()
    largest = max(float(distances.max()), 1e-9)
    colours = [hexadecimal(c) for c in interpolate_colours(np.asarray(distances / largest), ERRORS)]
    texts = [
        f"{name}: weight {weight:.2g}, {distance:.2f} mm"
        for name, weight, distance in zip(keypoints.pairs.fixed.ids, keypoints.weights, distances.tolist(), strict=True)
    ]
    weights = torch.tensor(keypoints.weights, dtype=torch.float64)
    mean = float((weights * distances).sum() / weights.sum().clamp_min(1e-12))
    marks = point_marks(views, fixed, keypoints.weights, colours, texts)
    return KeypointPage(marks, error_ramp(), len(texts), mean, largest)
