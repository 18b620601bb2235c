"""Checks of a stack of DICOM frames: what is missing, what differs between slices, what contradicts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nephi.errors import DataError, warn
from nephi.io.dicom.elements import text_of
from nephi.io.dicom.frames import DicomFrame

Vectors = NDArray[np.float64]

EVENNESS = 0.1  # largest deviation of a slice, as a fraction of the slice distance; a missing slice makes 0.5 or more
DIRECTION_TOLERANCE = 1e-3  # of direction cosines between slices
SPACING_TOLERANCE = 1e-3  # relative, of pixel spacings between slices
DISTANCE_TOLERANCE = 0.02  # relative, of SpacingBetweenSlices to the distance of the positions
ROUNDING = 1e-3  # mm, of positions written as decimal text
SAME_POSITION = 0.05  # mm between slices of two volumes at one position
LISTED = 6  # items of a list in an error


def require_geometry(frames: list[DicomFrame], path: Path) -> None:
    """Raise `DataError` when a frame of a volume has no position, orientation or spacing."""
    for keyword, field in (
        ("ImagePositionPatient", "position"),
        ("ImageOrientationPatient", "orientation"),
        ("PixelSpacing", "spacing"),
    ):
        without = [frame for frame in frames if getattr(frame, field) is None]
        if not without:
            continue
        found = f"{path}: expected {keyword} in each of {len(frames)} slices, it is missing in {len(without)}"
        advice = "; the place of the voxels is unknown without it"
        if keyword == "PixelSpacing" and without[0].file.text("ImagerPixelSpacing"):
            advice = "; ImagerPixelSpacing holds at the detector, not in the patient"
        elif len({frame.file for frame in frames}) == 1 and len(without) == len(frames):
            advice = (
                "; a film (ultrasound, fluoroscopy) is no volume: save one frame as an image, or convert with dcm2niix"
            )
        raise DataError(f"{found} ({without[0].label}, ...){advice}")


def require_one_stack(frames: list[DicomFrame], path: Path) -> None:
    """Raise `DataError` when frames belong to several stacks, even if these continue each other."""
    stacks = Counter(frame.marks.get("StackID", "") for frame in frames)
    if len(stacks) > 1:
        listed = ", ".join(f"{name or 'none'} ({count} frames)" for name, count in sorted(stacks.items()))
        raise DataError(
            f"{path}: expected one stack of slices, found {len(stacks)} (StackID {listed}); "
            "save one as a file of its own"
        )


def require_alike(frames: list[DicomFrame], path: Path) -> None:
    """Raise `DataError` when slices differ in size, orientation or spacing: a localizer among them, for example."""
    _require_one(frames, path, "size", [f"{rows} x {columns}" for rows, columns in (frame.shape for frame in frames)])
    orientations = np.array([frame.orientation for frame in frames], dtype=np.float64)
    _require_one(frames, path, "orientation", _kinds(orientations, DIRECTION_TOLERANCE))
    spacings = np.array([frame.spacing for frame in frames], dtype=np.float64)
    _require_one(frames, path, "PixelSpacing", _kinds(spacings, SPACING_TOLERANCE * spacings.max()))


def _kinds(vectors: Vectors, tolerance: float) -> list[str]:
    """Return a text for each vector, the same one for vectors `(n, C)` that differ by less than the tolerance."""
    kinds: list[tuple[Vectors, str]] = []
    texts = []
    for vector in vectors:
        text = next((text for other, text in kinds if np.abs(vector - other).max() <= tolerance), None)
        if text is None:
            text = "\\".join(f"{value:.6g}" for value in vector)
            kinds.append((vector, text))
        texts.append(text)
    return texts


def _require_one(frames: list[DicomFrame], path: Path, name: str, kinds: list[str]) -> None:
    """Raise `DataError` listing the frames of each kind unless all `kinds`, one text a frame, are equal."""
    groups: dict[str, list[str]] = {}
    for frame, kind in zip(frames, kinds, strict=True):
        groups.setdefault(kind, []).append(frame.label)
    if len(groups) == 1:
        return
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    listed = "; ".join(
        f"{kind} in {len(labels)} ({', '.join(labels[:2])}{', ...' if len(labels) > 2 else ''})"
        for kind, labels in ordered[:LISTED]
    )
    raise DataError(
        f"{path}: expected slices of one {name}, found {len(groups)}: {listed}; move a localizer or another volume "
        "into a folder of its own"
    )


def require_one_frame_a_position(frames: list[DicomFrame], heights: Vectors, path: Path) -> None:
    """Raise `DataError` when several frames have one position, listing the header values that distinguish them."""
    gaps = np.diff(heights)
    wide = gaps[gaps > ROUNDING]
    same = np.flatnonzero(gaps <= (min(EVENNESS * np.median(wide), SAME_POSITION) if len(wide) else ROUNDING))
    if not len(same):
        return
    first, second = frames[same[0]], frames[same[0] + 1]
    raise DataError(
        f"{path}: expected one slice at each position, found {first.label} and {second.label} at one position (and "
        f"{len(same) - 1} more such pairs), {_difference(first, second, frames)} several volumes may share the folder "
        "or file: save each by itself, with dcm2niix for example"
    )


def _difference(first: DicomFrame, second: DicomFrame, frames: list[DicomFrame]) -> str:
    """Describe how two frames at one position differ, with the values that all frames have there."""
    instances = [frame.file.text("SOPInstanceUID") for frame in (first, second)]
    if first.file is not second.file and instances[0] == instances[1] != "":
        return "which are the same instance (SOPInstanceUID): delete the copies; else"
    listed = []
    for key in sorted(first.marks.keys() | second.marks.keys()):
        values = sorted({frame.marks.get(key, "") for frame in frames}, key=lambda value: (len(value), value))
        if first.marks.get(key) != second.marks.get(key):
            text = ", ".join(values[:LISTED]) + (", ..." if len(values) > LISTED else "")
            listed.append((len(values), f"{key} {text}"))
    if not listed:
        return "whose headers differ in nothing else;"
    return f"which differ in {'; '.join(text for _, text in sorted(listed)[:3])};"


def warn_of_contradictions(frames: list[DicomFrame], step: Vectors, height: float, path: Path) -> None:
    """Warn of a SpacingBetweenSlices that the positions contradict, and of several frames of reference."""
    given = next((abs(frame.slice_spacing) for frame in frames if frame.slice_spacing), None)
    file = frames[0].file
    if given == 1 and text_of(file.header.file_meta, "ImplementationVersionName", file.path).startswith("GDCM"):
        given = None  # what ITK writes for every slice
    distances = float(np.linalg.norm(step)), abs(height)
    if given is not None and all(abs(given - distance) > DISTANCE_TOLERANCE * distance for distance in distances):
        warn(
            f"{path}: SpacingBetweenSlices is {given:g} mm, the positions of the slices are {distances[0]:.4g} mm "
            "apart; the positions were used"
        )
    references = {frame.file.text("FrameOfReferenceUID") for frame in frames}
    if len(references) > 1:
        warn(f"{path}: slices have {len(references)} frames of reference; their positions were taken as those of one")
