"""All measures of one transform."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nephi.argument_types import checked
from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io import GridLike, ImageLike, PointPairsLike, as_grid, as_image, as_point_pairs, read_label_names
from nephi.metrics.consistency import inverse_consistency_error
from nephi.metrics.label_agreement import label_agreement, names_of
from nephi.metrics.landmarks import LandmarkErrors, check_landmark_errors, check_landmarks, landmark_errors
from nephi.metrics.regularity import Regularity
from nephi.metrics.streaming import field_regularity
from nephi.metrics.summary import measure_rows, measures_html
from nephi.metrics.surface_distance import SurfaceDistance
from nephi.runtime import caller_threads
from nephi.transforms import DisplacementField, Transform


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Measures of one transform; those that were not computed are None.

    landmarks: errors in mm. dice, dice_before: per label, after and before. surfaces, surfaces_before: distances of the
    surfaces of each label, mm. label_names: of those labels that have one. regularity: of the displacement field at
    voxel centres, as in the report of a registration. inverse_consistency: mean of `|inverse(phi(x)) - x|`, mm;
    unrefined_inverse: the same for the unrefined inverse; exported_inverse_consistency: the same for the two exported
    displacement fields, at points that phi maps into the grid of the inverse field.
    """

    landmarks: LandmarkErrors | None = None
    dice: dict[int, float] | None = None
    dice_before: dict[int, float] | None = None
    surfaces: dict[int, SurfaceDistance] | None = None
    surfaces_before: dict[int, SurfaceDistance] | None = None
    label_names: dict[int, str] | None = None
    regularity: Regularity | None = None
    inverse_consistency: float | None = None
    unrefined_inverse: float | None = None
    exported_inverse_consistency: float | None = None

    def __repr__(self) -> str:
        """Return the main measures, one in each line."""
        rows = measure_rows(self.table())
        return "\n".join(["Evaluation", *(f"  {name}: {value}" for name, value in rows)])

    def _repr_html_(self) -> str:
        """Return HTML for notebooks: tables of the measures, and of the labels."""
        return measures_html(self.table())

    def table(self) -> dict[str, Any]:
        """Return the measures as a nested dictionary for JSON; lengths in mm, unrounded."""
        result: dict[str, Any] = {}
        if self.landmarks:
            result["tre_mm"] = self.landmarks.table()
        if self.dice:
            before = self.dice_before or {}
            result["dice"] = {
                "mean": mean_of(self.dice.values()),
                "before": mean_of(before.values()),
                "labels": _by_text(self.dice),
                "labels_before": _by_text(before),
            }
        if self.surfaces:
            before_surfaces = _surface_table(self.surfaces_before or {})
            result["surface_mm"] = _surface_table(self.surfaces) | {"before": before_surfaces}
        if self.label_names:
            result["label_names"] = _by_text(self.label_names)
        if self.regularity:
            result["regularity"] = vars(self.regularity)
        for name in ("inverse_consistency", "unrefined_inverse", "exported_inverse_consistency"):
            if (value := getattr(self, name)) is not None:
                result[f"{name}_mm"] = value
        return result


def mean_of(values: Iterable[float]) -> float | None:
    """Return the mean of the values that are not NaN; None without any."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else None


def _by_text(values: Mapping[int, Any]) -> dict[str, Any]:
    """Return a table of labels as JSON needs it: with text as keys."""
    return {str(label): value for label, value in values.items()}


def _surface_table(surfaces: Mapping[int, SurfaceDistance]) -> dict[str, Any]:
    """Return means over the labels, and both measures of each; None for a label without a surface."""
    return {
        "mean": mean_of(each.mean for each in surfaces.values()),
        "p95": mean_of(each.p95 for each in surfaces.values()),
        "labels": _by_text({k: None if math.isnan(each.mean) else vars(each) for k, each in surfaces.items()}),
    }


@checked
@caller_threads()
def evaluate(
    transform: Transform,
    *,
    grid: GridLike | None = None,
    fixed_grid: GridLike | None = None,
    moving_grid: GridLike | None = None,
    landmarks: PointPairsLike | None = None,
    fixed_labels: ImageLike | None = None,
    moving_labels: ImageLike | None = None,
    label_names: Mapping[int, str] | str | Path | None = None,
    mask: ImageLike | None = None,
    inverse: Transform | None = None,
    unrefined_inverse: Transform | None = None,
    exported: tuple[DisplacementField, DisplacementField] | None = None,
) -> Evaluation:
    """Compute the measures of `transform`, which maps fixed to moving points (world mm, RAS).

    Regularity and inverse consistency are evaluated at the voxel centres of `mask` (values above 0), else of the
    fixed labels, else of `grid`; without any of these they are left out. `inverse` maps moving to fixed points, as does
    `unrefined_inverse`, the inverse before its refinement; `exported` is a displacement field and its inverse.
    Overlap and surface distances are measured on the grid of the fixed labels, of every label that both images contain;
    `label_names` (or their file, see `read_label_names`) may name more labels than occur. Labels, mask and grids are
    images in any form that `register` accepts, `landmarks` pairs of points or their file.

    Warns of landmarks outside of the fixed image (`fixed_grid`, else `grid` or that of the fixed labels) or of the
    moving image (`moving_grid`, else that of the moving labels), of landmarks that fit clearly better with their axes
    reversed or their columns exchanged, and of names of other labels.

    Raises `DataError` for inputs of another dimension, for an empty mask or list of landmarks, and when all landmarks
    lie outside of their image.
    """
    grid, fixed_grid = _grid("grid", grid), _grid("fixed_grid", fixed_grid)
    moving_grid = _grid("moving_grid", moving_grid)
    fixed_labels, moving_labels = _image("fixed_labels", fixed_labels), _image("moving_labels", moving_labels)
    mask = _image("mask", mask)
    landmarks = None if landmarks is None else as_point_pairs(landmarks)
    inputs = {
        "fixed labels": fixed_labels,
        "moving labels": moving_labels,
        "mask": mask,
        "grid": grid,
        "fixed grid": fixed_grid,
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
        check_landmarks(landmarks, fixed_grid or grid or label_grids[0], moving_grid or label_grids[1])
        errors = landmark_errors(transform, landmarks)
        check_landmark_errors(transform, landmarks, errors)
    evaluated = next((item.grid for item in (mask, fixed_labels) if item is not None), grid)
    after = before = names = None
    if fixed_labels is not None and moving_labels is not None:
        after, before = label_agreement(fixed_labels, moving_labels, (transform, lambda points: points))
        named = read_label_names(label_names) if isinstance(label_names, str | Path) else label_names
        names = names_of(list(after.dice), named or {})

    def inverse_error(candidate: Transform | None) -> float | None:
        return inverse_consistency_error(transform, candidate, evaluated, mask) if evaluated and candidate else None

    return Evaluation(
        landmarks=errors,
        dice=after.dice if after else None,
        dice_before=before.dice if before else None,
        surfaces=after.surfaces if after else None,
        surfaces_before=before.surfaces if before else None,
        label_names=names,
        regularity=field_regularity(transform, evaluated, mask) if evaluated else None,
        inverse_consistency=inverse_error(inverse),
        unrefined_inverse=inverse_error(unrefined_inverse),
        exported_inverse_consistency=(
            inverse_consistency_error(*exported, evaluated, mask, domain=exported[1].grid)
            if evaluated and exported
            else None
        ),
    )


def _image(name: str, source: ImageLike | None) -> Image | None:
    return None if source is None else as_image(source, name)


def _grid(name: str, source: GridLike | None) -> Grid | None:
    return None if source is None else as_grid(source, name)
