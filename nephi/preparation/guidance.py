"""Landmarks and labels that guide a registration, read and validated."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nephi.errors import DataError, PlausibilityWarning, UsageError, warn
from nephi.geometry import PointPairs
from nephi.images import Image
from nephi.io import LabelsLike, PointPairsLike, as_image, as_point_pairs
from nephi.metrics import check_landmarks, label_numbers
from nephi.sampling import LabelBoundaries, label_boundaries
from nephi.transforms import AffineTransform

LEAST_INSIDE = 0.5  # fraction of the boundaries' voxels inside the image
WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32)  # voxels of other types are converted


@dataclass(frozen=True, eq=False)
class Guidance:
    """What guides the registration of a pair besides its images.

    `landmarks` are corresponding points, world mm, RAS; `labels` the boundaries of the labels that both label maps
    contain, fixed and moving, each on a grid of its own.
    """

    landmarks: PointPairs | None = None
    labels: tuple[LabelBoundaries, LabelBoundaries] | None = None

    def __bool__(self) -> bool:
        return self.landmarks is not None or self.labels is not None

    def with_moving_transformed(self, matrix: Tensor) -> Guidance:
        """Return the guidance with moving points and labels placed by a homogeneous world matrix."""
        landmarks, labels = self.landmarks, self.labels
        if landmarks is not None:
            moving = landmarks.moving.mapped(AffineTransform(matrix))
            landmarks = PointPairs(landmarks.fixed, moving)
        if labels is not None:
            labels = labels[0], labels[1].with_grid(labels[1].image.grid.transformed(matrix))
        return Guidance(landmarks, labels)

    def to(self, device: torch.device) -> Guidance:
        """Return the guidance with its label maps on `device`."""
        if self.labels is None:
            return self
        return replace(self, labels=(self.labels[0].to(device), self.labels[1].to(device)))


def read_guidance(landmarks: PointPairsLike | None, labels: LabelsLike | None, fixed: Image, moving: Image) -> Guidance:
    """Read the landmarks and label maps that guide the registration of two images, and validate them.

    Files of landmarks are in LPS mm, as `read_point_pairs` reads them. Issues a `PlausibilityWarning` for landmarks and
    labels outside of the images. Raises `DataError` for files that cannot be read, for another dimension than the
    images', landmarks or labels entirely outside of an image, voxels that are no labels, and label maps without a label
    in common.
    """
    pairs = None if landmarks is None else _read_landmarks(landmarks, fixed, moving)
    return Guidance(pairs, None if labels is None else _read_labels(labels, fixed, moving))


def _read_landmarks(source: PointPairsLike, fixed: Image, moving: Image) -> PointPairs:
    pairs = as_point_pairs(source, "guide_landmarks")
    if pairs.fixed.dimension != fixed.dimension or len(pairs) == 0:
        raise DataError(
            f"guide_landmarks: expected {fixed.dimension}-D pairs, the dimension of the images, got {len(pairs)} "
            f"{pairs.fixed.dimension}-D ones"
        )
    try:
        check_landmarks(pairs, fixed.grid, moving.grid)
    except DataError as error:
        raise DataError(f"guide_landmarks: {error}") from None
    return pairs


def _read_labels(sources: LabelsLike, fixed: Image, moving: Image) -> tuple[LabelBoundaries, LabelBoundaries]:
    if not isinstance(sources, tuple | list) or len(sources) != 2:
        raise UsageError("guide_labels: expected two label maps, fixed and moving")
    generator = torch.Generator().manual_seed(0)  # of its own: the points of the fit are the same as without labels
    boundaries = []
    for number, (source, image) in enumerate(zip(sources, (fixed, moving), strict=True)):
        labels = as_image(source, f"guide_labels[{number}]")
        if labels.dimension != image.dimension:
            raise DataError(
                f"{labels.name}: expected {image.dimension}-D labels, the dimension of the images, got "
                f"{labels.dimension}-D"
            )
        boundaries.append(label_boundaries(_whole_numbers(labels), generator))
        _require_inside(boundaries[-1], image)
    one, other = boundaries
    common = one.labels[torch.isin(one.labels, other.labels)]
    if not len(common):
        raise DataError(
            f"{one.image.name}, {other.image.name}: expected label maps that share a label with a boundary, found "
            f"{_listed(one.labels)} and {_listed(other.labels)}"
        )
    return one.of_labels(common), other.of_labels(common)


def _whole_numbers(labels: Image) -> Image:
    """Return a label map of whole numbers; raise `DataError` naming the first voxel that is no label."""
    if labels.data.dtype in WHOLE and int(labels.data.amin()) >= 0:
        return labels
    numbers = label_numbers(labels)
    return labels.with_data(numbers.to(torch.int32) if int(numbers.amax()) < 2**31 else numbers)


def _require_inside(boundaries: LabelBoundaries, image: Image) -> None:
    """Raise `DataError` for labels outside of their image, issue a `PlausibilityWarning` if most are."""
    labels = boundaries.image
    if not len(boundaries.voxels):
        raise DataError(f"{labels.name}: expected labels above 0 that do not fill the whole image, found none")
    points = labels.grid.voxel_to_world_points(boundaries.voxels.double())
    inside = float(image.grid.contains_voxel_points(image.grid.world_to_voxel_points(points)).double().mean())
    found = f"expected labels of {image.name}, found {100 * inside:.0f} % of their boundaries inside of it"
    if inside == 0:
        raise DataError(f"{labels.name}: {found}; check the order, fixed then moving, and the headers")
    if inside < LEAST_INSIDE:
        warn(f"{labels.name}: {found}; check the order, fixed then moving, and the headers", PlausibilityWarning)


def _listed(labels: Tensor) -> str:
    values = labels.tolist()
    return ", ".join(map(str, values[:5])) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
