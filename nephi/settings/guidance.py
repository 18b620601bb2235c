"""The settings of what guides a fit besides the images: landmarks and labels."""

from __future__ import annotations

from dataclasses import dataclass

from nephi.argument_types import checked_fields
from nephi.settings.validation import MOST_POINTS, require_above, require_at_least


@checked_fields
@dataclass(frozen=True)
class GuidanceSettings:
    """The weights of landmarks and labels that guide a registration, for pairs that are given some.

    landmarks: weight of the robust distance between mapped landmarks and their partners, per mm.
    accuracy: mm; landmarks that are closer to their partners are not pulled. 0: half of the longest voxel edge of both
        images, for points that were set on voxels.
    labels: weight of the soft Dice loss of labels.
    labels_per_step: number of labels, chosen at random at each step, that are compared.
    points_per_label: random points around the boundary of each of these labels.
    """

    landmarks: float = 0.3
    accuracy: float = 0.0
    labels: float = 1.0
    labels_per_step: int = 16
    points_per_label: int = 64

    def __post_init__(self) -> None:
        require_above("guidance", 0, landmarks=self.landmarks, labels=self.labels)
        require_at_least("guidance", 0, accuracy=self.accuracy)
        counts = {"labels_per_step": self.labels_per_step, "points_per_label": self.points_per_label}
        require_at_least("guidance", 1, high=MOST_POINTS, **counts)
        product = self.labels_per_step * self.points_per_label
        require_at_least("guidance", 1, high=MOST_POINTS, **{"labels_per_step * points_per_label": product})
