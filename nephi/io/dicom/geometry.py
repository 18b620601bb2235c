"""The grid of DICOM frames: their order along the slices, and what contradicts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nephi.errors import DataError, warn
from nephi.geometry import Grid
from nephi.io.dicom.consistency import (
    EVENNESS,
    Vectors,
    require_alike,
    require_geometry,
    require_one_frame_a_position,
    require_one_stack,
    warn_of_contradictions,
)
from nephi.io.dicom.elements import items_of, numbers
from nephi.io.dicom.frames import DicomFrame
from nephi.io.files.input_files import prefix_errors
from nephi.io.flat import flat_grid
from nephi.io.frames import flip_matrix

CENTIMETRES = 3.0  # code of a unit in ultrasound regions
UNIT_TOLERANCE = 0.02  # of their length and perpendicularity: some files give two digits


def arrange(frames: list[DicomFrame], path: Path) -> tuple[list[DicomFrame], Grid]:
    """Return frames in the order of the third axis, and their grid; of a single one a 2-D grid.

    The third axis leads from slice to slice, so that a tilted gantry comes out as the shear it is.

    Raises `DataError` when position, orientation or spacing are missing in a volume, slices differ in orientation,
    spacing or size, are missing, unevenly spaced or at one position.
    """
    if len(frames) == 1:
        return frames, _single_grid(frames[0], path)
    require_geometry(frames, path)
    require_one_stack(frames, path)
    require_alike(frames, path)
    axes = _axes(frames, path)
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    heights = positions @ np.cross(*axes)
    order = np.argsort(heights, kind="stable")
    frames, positions, heights = [frames[i] for i in order], positions[order], heights[order]
    require_one_frame_a_position(frames, heights, path)
    step = _step(frames, positions, path)
    warn_of_contradictions(frames, step, float(np.mean(np.diff(heights))), path)
    rows, columns = frames[0].shape
    with prefix_errors(path):
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
    spacing = frame.spacing or _assumed_spacing(frame, path)
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


def _assumed_spacing(frame: DicomFrame, path: Path) -> tuple[float, ...]:
    """Return what stands in for a missing PixelSpacing: of an ultrasound region, at the detector, on the film, 1 mm."""
    if frame.position is not None:
        raise DataError(f"{path}: expected the PixelSpacing of the slice, it is missing; correct the header")
    region = _region_spacing(frame)
    if region is not None:
        warn(f"{path}: no PixelSpacing; that of the ultrasound region was used, which holds inside of it alone")
        return region
    for keyword, where in (("ImagerPixelSpacing", "at the detector"), ("NominalScannedPixelSpacing", "on the film")):
        spacing = numbers(frame.file.header, keyword, 2, frame.file.path)
        if spacing is not None and min(spacing) > 0:
            warn(
                f"{path}: no PixelSpacing; {keyword} was used, which holds {where}: lengths in the patient are "
                "shorter, by the magnification of the projection"
            )
            return spacing
    ratio = numbers(frame.file.header, "PixelAspectRatio", 2, frame.file.path) or (1.0, 1.0)
    warn(f"{path}: no PixelSpacing; pixels were taken as 1 mm wide, so that lengths are in pixels, not in mm")
    return (ratio[0] / ratio[1] if min(ratio) > 0 else 1.0), 1.0


def _region_spacing(frame: DicomFrame) -> tuple[float, ...] | None:
    """Return the spacing in mm of an ultrasound image with one region whose units are cm, None for others."""
    path = frame.file.path
    regions = items_of(frame.file.header, "SequenceOfUltrasoundRegions", path)
    if len(regions) != 1:
        return None
    units = [numbers(regions[0], f"PhysicalUnits{axis}Direction", 1, path) for axis in "YX"]
    steps = [numbers(regions[0], f"PhysicalDelta{axis}", 1, path) for axis in "YX"]
    spacing = tuple(10 * abs(step[0]) for step in steps if step)
    return spacing if units == [(CENTIMETRES,)] * 2 and len(spacing) == 2 and min(spacing) > 0 else None


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
