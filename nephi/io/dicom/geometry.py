"""Sort DICOM frames along the normal of the slices, and compute their grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nephi.errors import DataError, warn
from nephi.geometry import Grid
from nephi.geometry.flat import flat_grid
from nephi.geometry.frames import flip_matrix
from nephi.io.dicom.consistency import (
    EVENNESS,
    Vectors,
    require_distinct_positions,
    require_equal_geometry,
    require_geometry,
    require_one_stack,
    warn_about_contradictions,
)
from nephi.io.dicom.elements import items_of, numbers
from nephi.io.dicom.frames import DicomFrame
from nephi.io.files.input_files import prefix_errors

CENTIMETRES = 3.0  # code of the unit in ultrasound regions
UNIT_TOLERANCE = 0.02  # of length and perpendicularity of directions; some files have two digits


def sort_frames(frames: list[DicomFrame], path: Path) -> tuple[list[DicomFrame], Grid]:
    """Return the frames in the order of the third axis, and their grid; a 2-D grid for a single frame.

    The third axis is the step from slice to slice, so that a tilted gantry gives a sheared grid.

    Raises `DataError` for a volume when position, orientation or spacing are missing; when slices differ in
    orientation, spacing or size; when slices are missing, unevenly spaced or at the same position.
    """
    if len(frames) == 1:
        return frames, _single_slice_grid(frames[0], path)
    require_geometry(frames, path)
    require_one_stack(frames, path)
    require_equal_geometry(frames, path)
    axes = _in_plane_axes(frames, path)
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    heights = positions @ np.cross(*axes)
    order = np.argsort(heights, kind="stable")
    frames, positions, heights = [frames[i] for i in order], positions[order], heights[order]
    require_distinct_positions(frames, heights, path)
    step = _slice_step(frames, positions, path)
    warn_about_contradictions(frames, step, float(np.mean(np.diff(heights))), path)
    rows, columns = frames[0].shape
    with prefix_errors(path):
        return frames, Grid((columns, rows, len(frames)), _affine(axes, _spacing(frames[0]), step, positions[0]))


def _affine(axes: Vectors, spacing: tuple[float, ...], step: Vectors, position: Vectors) -> torch.Tensor:
    """Return the voxel-to-world matrix (RAS) from LPS vectors; `spacing` is between rows, then between columns."""
    affine = np.eye(4)
    affine[:3, 0] = axes[0] * spacing[1]
    affine[:3, 1] = axes[1] * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = position
    return flip_matrix(3) @ torch.from_numpy(affine)


def _in_plane_axes(frames: list[DicomFrame], path: Path) -> Vectors:
    """Return the directions `(2, 3)` of rows and columns, orthonormalised."""
    directions = np.array(frames[0].orientation, dtype=np.float64).reshape(2, 3)
    if np.abs(directions @ directions.T - np.eye(2)).max() > UNIT_TOLERANCE:
        raise DataError(
            f"{path}: expected two perpendicular unit vectors as ImageOrientationPatient, found "
            f"{directions.reshape(-1).tolist()} in {frames[0].label}; the header may be damaged"
        )
    left, _, right = np.linalg.svd(directions, full_matrices=False)
    return np.asarray(left @ right)


def _spacing(frame: DicomFrame) -> tuple[float, ...]:
    assert frame.spacing is not None
    return frame.spacing


def _single_slice_grid(frame: DicomFrame, path: Path) -> Grid:
    """Return the 2-D grid of one slice; warn about defaults for values that a radiograph's header does not have."""
    spacing = frame.spacing or _default_spacing(frame, path)
    if (frame.position is None) != (frame.orientation is None):
        missing = "ImagePositionPatient" if frame.position is None else "ImageOrientationPatient"
        raise DataError(f"{path}: expected position and orientation of the slice, {missing} is missing")
    rows, columns = frame.shape
    if frame.position is None:
        warn(
            f"{path}: no ImagePositionPatient and ImageOrientationPatient, as in a radiograph; the first pixel is at "
            "0, 0, with rows along x and columns along y (LPS)"
        )
        axes, position = np.eye(3)[:2], np.zeros(3)
    else:
        axes, position = _in_plane_axes([frame], path), np.array(frame.position)
    thickness = numbers(frame.file.header, "SliceThickness", 1, frame.file.path)
    step = np.cross(*axes) * (thickness[0] if thickness and thickness[0] > 0 else 1.0)
    return flat_grid((columns, rows, 1), _affine(axes, spacing, step, position), path)


def _default_spacing(frame: DicomFrame, path: Path) -> tuple[float, ...]:
    """Return a substitute for PixelSpacing: that of an ultrasound region, of the detector or of the film, or 1 mm."""
    if frame.position is not None:
        raise DataError(f"{path}: expected the PixelSpacing of the slice, it is missing; correct the header")
    region = _region_spacing(frame)
    if region is not None:
        warn(f"{path}: no PixelSpacing; that of the ultrasound region was used, which is valid inside of it only")
        return region
    for keyword, location in (("ImagerPixelSpacing", "at the detector"), ("NominalScannedPixelSpacing", "on the film")):
        spacing = numbers(frame.file.header, keyword, 2, frame.file.path)
        if spacing is not None and min(spacing) > 0:
            warn(
                f"{path}: no PixelSpacing; {keyword} was used, which is valid {location}: lengths in the patient "
                "are smaller, by the magnification of the projection"
            )
            return spacing
    ratio = numbers(frame.file.header, "PixelAspectRatio", 2, frame.file.path) or (1.0, 1.0)
    warn(f"{path}: no PixelSpacing; a pixel width of 1 mm was used, so that lengths are in pixels, not in mm")
    return (ratio[0] / ratio[1] if min(ratio) > 0 else 1.0), 1.0


def _region_spacing(frame: DicomFrame) -> tuple[float, ...] | None:
    """Return the spacing in mm of an ultrasound image with one region in cm; None for other images."""
    path = frame.file.path
    regions = items_of(frame.file.header, "SequenceOfUltrasoundRegions", path)
    if len(regions) != 1:
        return None
    units = [numbers(regions[0], f"PhysicalUnits{axis}Direction", 1, path) for axis in "YX"]
    steps = [numbers(regions[0], f"PhysicalDelta{axis}", 1, path) for axis in "YX"]
    spacing = tuple(10 * abs(step[0]) for step in steps if step)
    return spacing if units == [(CENTIMETRES,)] * 2 and len(spacing) == 2 and min(spacing) > 0 else None


def _slice_step(frames: list[DicomFrame], positions: Vectors, path: Path) -> Vectors:
    """Return the step from slice to slice; raise `DataError` unless slices are evenly spaced."""
    count = len(positions)
    step: Vectors = (positions[-1] - positions[0]) / (count - 1)
    distance = float(np.linalg.norm(step))
    distances = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    deviations = np.linalg.norm(positions - (positions[0] + np.arange(count)[:, None] * step), axis=1)
    if distance == 0 or deviations.max() > EVENNESS * distance:
        widest = int(distances.argmax())
        raise DataError(
            f"{path}: expected evenly spaced slices, found distances from {distances.min():.3f} to "
            f"{distances.max():.3f} mm between the {count} slices, the largest from {frames[widest].label} to "
            f"{frames[widest + 1].label}; slices may be missing, or several volumes may be in the folder"
        )
    return step
