"""All measures of one transform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nephi.errors import DataError
from nephi.geometry import Grid, PointPairs
from nephi.images import Image
from nephi.metrics.consistency import inverse_consistency_error
from nephi.metrics.landmarks import LandmarkErrors, check_landmark_errors, check_landmarks, landmark_errors
from nephi.metrics.overlap import dice
from nephi.metrics.regularity import Regularity, regularity
from nephi.transforms import DisplacementField, Transform


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Measures of one transform; those that were not computed are None.

    landmarks: errors in mm. dice: per label, after and before. regularity: of the transform's own Jacobian.
    inverse_consistency: mean of `|inverse(phi(x)) - x|`, mm; unrefined_inverse: the same for the unrefined
    inverse; exported_inverse_consistency: the same for the two exported displacement fields, at points
    that phi maps into the grid of the inverse field.
    """

    landmarks: LandmarkErrors | None = None
    dice: dict[int, float] | None = None
    dice_before: dict[int, float] | None = None
    regularity: Regularity | None = None
    inverse_consistency: float | None = None
    unrefined_inverse: float | None = None
    exported_inverse_consistency: float | None = None

    def table(self) -> dict[str, Any]:
        """Return the measures as a nested dictionary for JSON; lengths in mm, unrounded."""
        result: dict[str, Any] = {}
        if self.landmarks:
            result["tre_mm"] = self.landmarks.table()
        if self.dice:
            by_label = {str(label): value for label, value in self.dice.items()}
            result["dice"] = {"mean": mean_of(self.dice), "before": mean_of(self.dice_before or {}), "labels": by_label}
        if self.regularity:
            result["regularity"] = vars(self.regularity)
        for name in ("inverse_consistency", "unrefined_inverse", "exported_inverse_consistency"):
            if (value := getattr(self, name)) is not None:
                result[f"{name}_mm"] = value
        return result


def mean_of(values: dict[int, float]) -> float:
    """Return the mean of the values; NaN for an empty dictionary."""
    return sum(values.values()) / len(values) if values else float("nan")


def evaluate(
    transform: Transform,
    *,
    grid: Grid | None = None,
    moving_grid: Grid | None = None,
    landmarks: PointPairs | None = None,
    fixed_labels: Image | None = None,
    moving_labels: Image | None = None,
    mask: Image | None = None,
    inverse: Transform | None = None,
    unrefined_inverse: Transform | None = None,
    exported: tuple[DisplacementField, DisplacementField] | None = None,
) -> Evaluation:
    """Compute the measures of `transform`, which maps fixed to moving points (world mm, RAS).

    Regularity and inverse consistency are evaluated at the voxel centres of `mask` (values above 0), else of the
    fixed labels, else of `grid`; without any of these they are left out. `inverse` maps moving to fixed points, as does
    `unrefined_inverse`, the inverse before its refinement; `exported` is a displacement field and its inverse.

    Warns of landmarks outside of `grid` (else of the fixed labels) or of `moving_grid` (else of the moving labels), and
    of landmarks that fit clearly better with their axes reversed or their columns exchanged.

    Raises `DataError` for inputs of another dimension, for an empty mask or list of landmarks, and when all landmarks
    lie outside of their image.
    """
    inputs = {
        "fixed labels": fixed_labels,
        "moving labels": moving_labels,
        "mask": mask,
        "grid": grid,
        "inverse": inverse,
        "unrefined inverse": unrefined_inverse,
    }
    dimensions = {name: item.dimension for name, item in inputs.items() if item is not None}
    if landmarks is not None:
        if len(landmarks) == 0:
            raise DataError("landmarks: expected at least one pair, found none")
        dimensions["landmarks"] = landmarks.fixed.dimension
    for name, dimension in dimensions.items():
        if dimension != transform.dimension:
            raise DataError(f"{name}: expected {transform.dimension}-D like the transform, found {dimension}-D")
    errors = None
    if landmarks is not None:
        label_grids = [None if labels is None else labels.grid for labels in (fixed_labels, moving_labels)]
        check_landmarks(landmarks, grid or label_grids[0], moving_grid or label_grids[1])
        errors = landmark_errors(transform, landmarks)
        check_landmark_errors(transform, landmarks, errors)
    evaluated = next((item.grid for item in (mask, fixed_labels) if item is not None), grid)
    overlap = before = None
    if fixed_labels is not None and moving_labels is not None:
        overlap = dice(fixed_labels, moving_labels, transform)
        before = dice(fixed_labels, moving_labels, lambda x: x)

    def inverse_error(candidate: Transform | None) -> float | None:
        return inverse_consistency_error(transform, candidate, evaluated, mask) if evaluated and candidate else None

    return Evaluation(
        landmarks=errors,
        dice=overlap,
        dice_before=before,
        regularity=regularity(transform, evaluated, mask) if evaluated else None,
        inverse_consistency=inverse_error(inverse),
        unrefined_inverse=inverse_error(unrefined_inverse),
        exported_inverse_consistency=(
            inverse_consistency_error(*exported, evaluated, mask, domain=exported[1].grid)
            if evaluated and exported
            else None
        ),
    )
