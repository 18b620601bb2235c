"""The grid of DICOM frames: their order along the slices, and what contradicts it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nephi.errors import DataError, warn
from nephi.geometry import Grid
from nephi.io.dicom_file import numbers
from nephi.io.dicom_frames import DicomFrame
from nephi.io.flat import flat_grid
from nephi.io.foreign import naming
from nephi.io.frames import flip_matrix

Vectors = NDArray[np.float64]

EVENNESS = 0.1  # largest deviation of a slice, as a fraction of the slice distance; a missing slice makes 0.5 or more
DIRECTION_TOLERANCE = 1e-3  # of direction cosines between slices
UNIT_TOLERANCE = 0.02  # of their length and perpendicularity: some files give two digits
SPACING_TOLERANCE = 1e-3  # relative, of pixel spacings between slices
DISTANCE_TOLERANCE = 0.02  # relative, of SpacingBetweenSlices to the distance of the positions
LISTED = 6  # items of a list in an error


def arrange(frames: list[DicomFrame], path: Path) -> tuple[list[DicomFrame], Grid]:
    """Return frames in the order of the third axis, and their grid; of a single one a 2-D grid.

    The third axis leads from slice to slice, so that a tilted gantry comes out as the shear it is.

    Raises `DataError` when position, orientation or spacing are missing in a volume, slices differ in orientation,
    spacing or size, are missing, unevenly spaced or at one position.
    """
    if len(frames) == 1:
        return frames, _single_grid(frames[0], path)
    _require_geometry(frames, path)
    _require_one_stack(frames, path)
    _require_alike(frames, path)
    axes = _axes(frames, path)
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    heights = positions @ np.cross(*axes)
    order = np.argsort(heights, kind="stable")
    frames, positions, heights = [frames[i] for i in order], positions[order], heights[order]
    _require_one_frame_a_position(frames, heights, path)
    step = _step(frames, positions, path)
    _warn_of_contradictions(frames, step, float(np.mean(np.diff(heights))), path)
    rows, columns = frames[0].shape
    with naming(path):
        return frames, Grid((columns, rows, len(frames)), _affine(axes, _spacing(frames[0]), step, positions[0]))


def _affine(axes: Vectors, spacing: tuple[float, ...], step: Vectors, position: Vectors) -> torch.Tensor:
    """Return the voxel-to-world matrix in RAS from LPS vectors; `spacing` is that between rows, then columns."""
    affine = np.eye(4)
    affine[:3, 0] = axes[0] * spacing[1]
    affine[:3, 1] = axes[1] * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = position
    return flip_matrix(3) @ torch.from_numpy(affine)


def _axes(frames: list[DicomFrame], path: Path) -> Vectors:
    """Return the unit directions `(2, 3)` of rows and columns, made exactly perpendicular."""
    given = np.array(frames[0].orientation, dtype=np.float64).reshape(2, 3)
    if np.abs(given @ given.T - np.eye(2)).max() > UNIT_TOLERANCE:
        raise DataError(
            f"{path}: expected two perpendicular unit vectors as ImageOrientationPatient, found "
            f"{given.reshape(-1).tolist()} in {frames[0].label}; the header may be damaged"
        )
    left, _, right = np.linalg.svd(given, full_matrices=False)
    return np.asarray(left @ right)


def _spacing(frame: DicomFrame) -> tuple[float, ...]:
    assert frame.spacing is not None
    return frame.spacing


def _single_grid(frame: DicomFrame, path: Path) -> Grid:
    """Return the 2-D grid of one slice; what a radiograph's header does not give is assumed, with a warning."""
    spacing = frame.spacing or _detector_spacing(frame, path)
    if (frame.position is None) != (frame.orientation is None):
        missing = "ImagePositionPatient" if frame.position is None else "ImageOrientationPatient"
        raise DataError(f"{path}: expected position and orientation of the slice, {missing} is missing")
    rows, columns = frame.shape
    if frame.position is None:
        warn(
            f"{path}: no ImagePositionPatient and ImageOrientationPatient, as in a radiograph; the first pixel was "
            "placed at 0, 0, rows along x and columns along y (LPS)"
        )
        axes, position = np.eye(3)[:2], np.zeros(3)
    else:
        axes, position = _axes([frame], path), np.array(frame.position)
    thickness = numbers(frame.file.header, "SliceThickness", 1, frame.file.path)
    step = np.cross(*axes) * (thickness[0] if thickness and thickness[0] > 0 else 1.0)
    return flat_grid((columns, rows, 1), _affine(axes, spacing, step, position), path)


def _detector_spacing(frame: DicomFrame, path: Path) -> tuple[float, ...]:
    """Return the spacing that stands in for a missing PixelSpacing: at the detector, on the film, or 1 mm."""
    for keyword, where in (("ImagerPixelSpacing", "at the detector"), ("NominalScannedPixelSpacing", "on the film")):
        spacing = numbers(frame.file.header, keyword, 2, frame.file.path)
        if spacing is not None and min(spacing) > 0 and frame.position is None:
            warn(
                f"{path}: no PixelSpacing; {keyword} was used, which holds {where}: lengths in the patient are "
                "shorter, by the magnification of the projection"
            )
            return spacing
    if frame.position is not None:
        raise DataError(f"{path}: expected the PixelSpacing of the slice, it is missing; correct the header")
    warn(f"{path}: no PixelSpacing; pixels were taken as 1 mm wide, so that lengths are in pixels, not in mm")
    return 1.0, 1.0


def _require_geometry(frames: list[DicomFrame], path: Path) -> None:
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
            advice = "; a film (ultrasound, fluoroscopy) is no volume: save one frame as an image"
        raise DataError(f"{found} ({without[0].label}, ...){advice}")


def _require_one_stack(frames: list[DicomFrame], path: Path) -> None:
    stacks = Counter(frame.marks.get("StackID", "") for frame in frames)
    if len(stacks) > 1:
        listed = ", ".join(f"{name or 'none'} ({count} frames)" for name, count in sorted(stacks.items()))
        raise DataError(
            f"{path}: expected one stack of slices, found {len(stacks)} (StackID {listed}); "
            "save one as a file of its own"
        )


def _require_alike(frames: list[DicomFrame], path: Path) -> None:
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


def _require_one_frame_a_position(frames: list[DicomFrame], heights: Vectors, path: Path) -> None:
    """Raise `DataError` when several frames have one position, listing the header values that distinguish them."""
    gaps = np.diff(heights)
    wide = gaps[gaps > 1e-3]
    same = np.flatnonzero(gaps <= (EVENNESS * np.median(wide) if len(wide) else 1e-3))
    if not len(same):
        return
    first, second = frames[same[0]], frames[same[0] + 1]
    instances = [frame.file.text("SOPInstanceUID") for frame in (first, second)]
    if first.file is not second.file and instances[0] == instances[1] != "":
        found = "which are the same instance (SOPInstanceUID): delete the copies; else"
    else:
        distinct = {
            key: {frame.marks.get(key, "") for frame in frames} for key in first.marks.keys() | second.marks.keys()
        }
        marks = [
            f"{key} {', '.join(sorted(values)[:LISTED])}{', ...' if len(values) > LISTED else ''}"
            for key, values in sorted(distinct.items(), key=lambda item: (len(item[1]), item[0]))
            if len(values) > 1 and first.marks.get(key) != second.marks.get(key)
        ]
        found = f"which differ in {'; '.join(marks[:3])};" if marks else "whose headers differ in nothing else;"
    raise DataError(
        f"{path}: expected one slice at each position, found {first.label} and {second.label} at one position (and "
        f"{len(same) - 1} more such pairs), {found} several volumes may share the folder or file: save each by itself"
    )


def _step(frames: list[DicomFrame], positions: Vectors, path: Path) -> Vectors:
    """Return the vector from slice to slice; raise `DataError` when they are not evenly spaced."""
    count = len(positions)
    step: Vectors = (positions[-1] - positions[0]) / (count - 1)
    distance = float(np.linalg.norm(step))
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    away = np.linalg.norm(positions - (positions[0] + np.arange(count)[:, None] * step), axis=1)
    if distance == 0 or away.max() > EVENNESS * distance:
        widest = int(gaps.argmax())
        raise DataError(
            f"{path}: expected evenly spaced slices, found distances from {gaps.min():.3f} to {gaps.max():.3f} mm "
            f"between the {count} slices, the largest from {frames[widest].label} to {frames[widest + 1].label}; "
            "slices may be missing, or several volumes may share the folder"
        )
    return step


def _warn_of_contradictions(frames: list[DicomFrame], step: Vectors, height: float, path: Path) -> None:
    """Warn of a SpacingBetweenSlices that the positions contradict, and of several frames of reference."""
    given = next((abs(frame.slice_spacing) for frame in frames if frame.slice_spacing), None)
    if given == 1 and frames[0].file.header.file_meta.get("ImplementationVersionName", "").startswith("GDCM"):
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
