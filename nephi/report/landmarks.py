"""Landmarks of the report page: their errors, and their positions in each view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nephi.geometry import PointPairs
from nephi.metrics import LandmarkErrors, landmark_errors
from nephi.report.charts import Histogram, histogram
from nephi.report.colours import ERRORS, hexadecimal, interpolate_colours
from nephi.report.planes import Planes
from nephi.transforms import Transform

RADII = (1.6, 4.0)  # pixels for an error of 0 and for the largest one: size shows the error as well as colour


@dataclass(frozen=True)
class Mark:
    """A landmark in a view: a disc at `x`, `y` pixels; `plane` is the index of the nearest plane."""

    x: float
    y: float
    radius: float
    colour: str
    plane: int
    text: str


@dataclass(frozen=True, eq=False)
class LandmarkPage:
    """Landmark errors, mm, with their histogram, discs (`marks`, one list a view) and colour scale."""

    errors: LandmarkErrors
    histogram: Histogram
    marks: list[list[Mark]]
    ramp: list[str]

    @property
    def summary(self) -> dict[str, float]:
        """Count, mean, median, 90th percentile and maximum after registration, and the mean before."""
        return self.errors.summary()


def landmark_page(transform: Transform, pairs: PointPairs, views: list[Planes]) -> LandmarkPage:
    """Compute landmark errors under `transform` (fixed to moving points), with discs at the fixed points."""
    errors = landmark_errors(transform, pairs)
    after = errors.after.tolist()
    fractions = np.array(after) / max(*after, 1e-9)
    colours = [hexadecimal(c) for c in interpolate_colours(fractions, ERRORS)]
    texts = [
        f"{name}: {error:.2f} mm, {error_before:.2f} mm before"
        for name, error, error_before in zip(pairs.fixed.ids, after, errors.before.tolist(), strict=True)
    ]
    marks = point_marks(views, pairs.fixed.coordinates, fractions.tolist(), colours, texts)
    return LandmarkPage(errors, histogram(after), marks, error_ramp())


def error_ramp() -> list[str]:
    """Return the colours of a scale from no error to the largest."""
    return [hexadecimal(c) for c in interpolate_colours(np.linspace(0, 1, 5), ERRORS)]


def point_marks(
    views: list[Planes], points: Tensor, sizes: Sequence[float], colours: Sequence[str], texts: Sequence[str]
) -> list[list[Mark]]:
    """Return a disc for each of the `points` `(N, D)`, world mm, in each view; `sizes` are from 0 to 1."""
    radii = [RADII[0] + (RADII[1] - RADII[0]) * size for size in sizes]
    marks = []
    for planes in views:
        positions, nearest = planes.pixels(points).tolist(), planes.nearest(points).tolist()
        marks.append(
            [
                # SVG coordinates start at the corner of the first pixel, those of planes at its centre.
                Mark(x + 0.5, y + 0.5, radius, colour, plane, text)
                for (x, y), radius, colour, plane, text in zip(positions, radii, colours, nearest, texts, strict=True)
            ]
        )
    return marks
