"""Landmarks for the page: their errors, and where they lie in each view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nephi.geometry import PointPairs
from nephi.metrics import LandmarkErrors, landmark_errors
from nephi.report.charts import Histogram, histogram
from nephi.report.colours import ERRORS, colours_of, hexadecimal
from nephi.report.planes import Planes
from nephi.transforms import Transform

RADII = (1.6, 4.0)  # pixels, of the smallest and the largest error: colour is not all that tells


@dataclass(frozen=True)
class Mark:
    """A landmark in a view: a disc at `x`, `y` pixels that belongs to plane number `plane`."""

    x: float
    y: float
    radius: float
    colour: str
    plane: int
    text: str


@dataclass(frozen=True, eq=False)
class LandmarkPage:
    """What the page tells of landmarks; lengths in mm. `marks` has one list for each view."""

    errors: LandmarkErrors
    histogram: Histogram
    marks: list[list[Mark]]
    ramp: list[str]

    @property
    def summary(self) -> dict[str, float]:
        """Count, mean, median, 90th percentile and maximum after; the mean before."""
        return self.errors.summary()


def landmark_page(transform: Transform, pairs: PointPairs, views: list[Planes]) -> LandmarkPage:
    """Return the errors of landmarks under `transform` (fixed to moving points), drawn at the fixed points."""
    errors = landmark_errors(transform, pairs)
    after = errors.after.tolist()
    shares = np.array(after) / max(*after, 1e-9)
    colours = [hexadecimal(c) for c in colours_of(shares, ERRORS)]
    texts = [
        f"{name}: {now:.2f} mm, {was:.2f} mm before"
        for name, now, was in zip(pairs.fixed.ids, after, errors.before.tolist(), strict=True)
    ]
    marks = []
    for planes in views:
        places = planes.pixels(pairs.fixed.coordinates).tolist()
        nearest = planes.nearest(pairs.fixed.coordinates).tolist()
        radii = (RADII[0] + (RADII[1] - RADII[0]) * shares).tolist()
        marks.append(
            [
                # SVG counts from the corner of the first pixel, the planes from its centre.
                Mark(x + 0.5, y + 0.5, radius, colour, plane, text)
                for (x, y), radius, colour, plane, text in zip(places, radii, colours, nearest, texts, strict=True)
            ]
        )
    ramp = [hexadecimal(c) for c in colours_of(np.linspace(0, 1, 5), ERRORS)]
    return LandmarkPage(errors, histogram(after), marks, ramp)
