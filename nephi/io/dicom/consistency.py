"""Validate a stack of DICOM frames: missing values, differences between slices, contradictions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nephi.errors import DataError, warn
from nephi.io.dicom.elements import text_of
from nephi.io.dicom.frames import DicomFrame

Vectors = NDArray[np.float64]

EVENNESS = 0.1  # largest deviation of a slice, as a fraction of the slice distance; at least 0.5 for a missing slice
DIRECTION_TOLERANCE = 1e-3  # of direction cosines between slices
SPACING_TOLERANCE = 1e-3  # relative, of pixel spacings between slices
DISTANCE_TOLERANCE = 0.02  # relative, of SpacingBetweenSlices to the distance of the positions
ROUNDING = 1e-3  # mm, of positions written as decimal text
SAME_POSITION = 0.05  # mm; slices of two volumes at one position may differ by this distance
MAX_LISTED = 6  # items of a list in an error message


def require_geometry(frames: list[DicomFrame], path: Path) -> None:
    """Raise `DataError` when a frame of a volume has no position, orientation or spacing."""
    for keyword, field in (
        ("ImagePositionPatient", "position"),
        ("ImageOrientationPatient", "orientation"),
        ("PixelSpacing", "spacing"),
    ):
        incomplete = [frame for frame in frames if getattr(frame, field) is None]
        if not incomplete:
            continue
        message = f"{path}: expected {keyword} in each of {len(frames)} slices, it is missing in {len(incomplete)}"
        advice = "; the positions of the voxels are unknown without it"
        if keyword == "PixelSpacing" and incomplete[0].file.text("ImagerPixelSpacing"):
            advice = "; ImagerPixelSpacing is the spacing at the detector, not in the patient"
        elif len({frame.file for frame in frames}) == 1 and len(incomplete) == len(frames):
            advice = "; a video (ultrasound, fluoroscopy) is not a volume: save one frame as an image, or use dcm2niix"
        raise DataError(f"{message} ({incomplete[0].label}, ...){advice}")


def require_one_stack(frames: list[DicomFrame], path: Path) -> None:
    """Raise `DataError` when frames belong to several stacks, even if those are adjacent."""
    stacks = Counter(frame.attributes.get("StackID", "") for frame in frames)
    if len(stacks) > 1:
        listed = ", ".join(f"{name or 'none'} ({count} frames)" for name, count in sorted(stacks.items()))
        raise DataError(
            f"{path}: expected one stack of slices, found {len(stacks)} (StackID {listed}); "
            "save one stack in a separate file"
        )


def require_equal_geometry(frames: list[DicomFrame], path: Path) -> None:
    """Raise `DataError` when slices differ in size, orientation or spacing, for example because of a localizer."""
    _require_one_group(
        frames, path, "size", [f"{rows} x {columns}" for rows, columns in (frame.shape for frame in frames)]
    )
    orientations = np.array([frame.orientation for frame in frames], dtype=np.float64)
    _require_one_group(frames, path, "orientation", _group_labels(orientations, DIRECTION_TOLERANCE))
    spacings = np.array([frame.spacing for frame in frames], dtype=np.float64)
    _require_one_group(frames, path, "PixelSpacing", _group_labels(spacings, SPACING_TOLERANCE * spacings.max()))


def _group_labels(vectors: Vectors, tolerance: float) -> list[str]:
    """Return a label for each vector of `(n, C)`, the same label for vectors that differ by less than the tolerance."""
    groups: list[tuple[Vectors, str]] = []
    labels = []
    for vector in vectors:
        label = next((label for other, label in groups if np.abs(vector - other).max() <= tolerance), None)
        if label is None:
            label = "\\".join(f"{value:.6g}" for value in vector)
            groups.append((vector, label))
        labels.append(label)
    return labels


def _require_one_group(frames: list[DicomFrame], path: Path, name: str, group_labels: list[str]) -> None:
    """Raise `DataError` listing the frames of each group unless all `group_labels`, one per frame, are equal."""
    groups: dict[str, list[str]] = {}
    for frame, group in zip(frames, group_labels, strict=True):
        groups.setdefault(group, []).append(frame.label)
    if len(groups) == 1:
        return
    largest_first = sorted(groups.items(), key=lambda item: -len(item[1]))
    listed = "; ".join(
        f"{group} in {len(labels)} ({', '.join(labels[:2])}{', ...' if len(labels) > 2 else ''})"
        for group, labels in largest_first[:MAX_LISTED]
    )
    raise DataError(
        f"{path}: expected slices of one {name}, found {len(groups)}: {listed}; move a localizer or another volume "
        "into a separate folder"
    )


def require_distinct_positions(frames: list[DicomFrame], heights: Vectors, path: Path) -> None:
    """Raise `DataError` when several frames have one position, listing the header values that distinguish them."""
    distances = np.diff(heights)
    positive = distances[distances > ROUNDING]
    tolerance = min(EVENNESS * np.median(positive), SAME_POSITION) if len(positive) else ROUNDING
    duplicates = np.flatnonzero(distances <= tolerance)
    if not len(duplicates):
        return
    first, second = frames[duplicates[0]], frames[duplicates[0] + 1]
    raise DataError(
        f"{path}: expected one slice at each position, found {first.label} and {second.label} at one position (and "
        f"{len(duplicates) - 1} more such pairs), {_describe_difference(first, second, frames)} several volumes may be "
        "in the folder or file: save each separately, for example with dcm2niix"
    )


def _describe_difference(first: DicomFrame, second: DicomFrame, frames: list[DicomFrame]) -> str:
    """Describe the header values that differ between two frames at one position, with their values in all frames."""
    instances = [frame.file.text("SOPInstanceUID") for frame in (first, second)]
    if first.file is not second.file and instances[0] == instances[1] != "":
        return "which are copies of one instance (SOPInstanceUID): delete the copies; otherwise"
    differences = []
    for key in sorted(first.attributes.keys() | second.attributes.keys()):
        values = sorted({frame.attributes.get(key, "") for frame in frames}, key=lambda value: (len(value), value))
        if first.attributes.get(key) != second.attributes.get(key):
            text = ", ".join(values[:MAX_LISTED]) + (", ..." if len(values) > MAX_LISTED else "")
            differences.append((len(values), f"{key} {text}"))
    if not differences:
        return "whose headers do not differ otherwise;"
    return f"which differ in {'; '.join(text for _, text in sorted(differences)[:3])};"


def warn_about_contradictions(frames: list[DicomFrame], step: Vectors, height: float, path: Path) -> None:
    """Warn when SpacingBetweenSlices contradicts the positions, and about several frames of reference."""
    stated = next((abs(frame.slice_spacing) for frame in frames if frame.slice_spacing), None)
    file = frames[0].file
    if stated == 1 and text_of(file.header.file_meta, "ImplementationVersionName", file.path).startswith("GDCM"):
        stated = None  # ITK writes 1 for every slice
    distances = float(np.linalg.norm(step)), abs(height)
    if stated is not None and all(abs(stated - distance) > DISTANCE_TOLERANCE * distance for distance in distances):
        warn(
            f"{path}: SpacingBetweenSlices is {stated:g} mm, the positions of the slices are {distances[0]:.4g} mm "
            "apart; the positions were used"
        )
    references = {frame.file.text("FrameOfReferenceUID") for frame in frames}
    if len(references) > 1:
        warn(f"{path}: slices have {len(references)} frames of reference; their positions were used as those of one")
