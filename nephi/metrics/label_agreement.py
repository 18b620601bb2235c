"""Agreement of two label maps under a transform: overlap and distance of the surfaces of each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nephi.errors import warn
from nephi.geometry import PointMap
from nephi.images import Image
from nephi.metrics.overlap import dice_of, label_numbers, shared_labels, warped_numbers
from nephi.metrics.surface_distance import SurfaceDistance, surface_distances


@dataclass(frozen=True)
class LabelAgreement:
    """Dice coefficient and surface distance (mm) of every label that both images contain, except 0."""

    dice: dict[int, float]
    surfaces: dict[int, SurfaceDistance]


def label_agreement(
    fixed_labels: Image, moving_labels: Image, transforms: Sequence[PointMap]
) -> tuple[LabelAgreement, ...]:
    """Return the agreement of the fixed labels with the moving labels warped by each of the `transforms`.

    Transforms map fixed to moving points (world mm, RAS). Moving labels are resampled to the fixed grid by nearest
    neighbour. Raises `DataError` for voxels that are no labels, and when the images share no label.
    """
    fixed, labels = label_numbers(fixed_labels), shared_labels(fixed_labels, moving_labels)
    agreements = []
    for transform in transforms:
        warped = warped_numbers(fixed_labels, moving_labels, transform)
        surfaces = surface_distances(fixed, warped, fixed_labels.grid, labels)
        agreements.append(LabelAgreement(dice_of(fixed, warped, labels), surfaces))
    return tuple(agreements)


def names_of(labels: Sequence[int], names: Mapping[int, str]) -> dict[int, str]:
    """Return the names of those of the `labels` that have one.

    Issues a `DataWarning` if none has: the names are probably those of another atlas.
    """
    found = {label: names[label] for label in labels if label in names}
    if names and labels and not found:
        listed, known = (", ".join(map(str, sorted(numbers)[:5])) for numbers in (labels, names))
        warn(f"label names: expected names of the labels {listed}, found only those of {known}, ...")
    return found
