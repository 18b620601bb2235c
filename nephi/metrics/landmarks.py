"""Target registration error of landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nephi.geometry import PointMap, PointPairs


@dataclass(frozen=True, eq=False)
class LandmarkErrors:
    """Distances in mm, unrounded, one per landmark: `before` any registration and `after` the transform."""

    before: Tensor
    after: Tensor

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


def landmark_errors(transform: PointMap, pairs: PointPairs) -> LandmarkErrors:
    """Return `|phi(fixed) - moving|` for every pair; `transform` maps fixed to moving points (world mm).

    Points are not rounded to voxel centres.
    """
    fixed, moving = pairs.fixed.coordinates, pairs.moving.coordinates
    with torch.no_grad():
        return LandmarkErrors((fixed - moving).norm(dim=-1), (transform(fixed) - moving).norm(dim=-1))
