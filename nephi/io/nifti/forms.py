"""Positions that a NIfTI header states: the qform, the sform, and the sform with the voxel sizes of `pixdim`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

QFORM, SFORM = "the qform", "the sform"
SFORM_SPACING = "the sform with the voxel sizes of pixdim"


def stated_positions(header: Any) -> dict[str, Matrix]:
    """Return every 4x4 voxel-to-world matrix (RAS) that the header states, by name, in the unit of the header."""
    positions: dict[str, Matrix] = {}
    spacing = voxel_sizes(header)
    if header["sform_code"] > 0:
        rows = np.array([header["srow_x"], header["srow_y"], header["srow_z"], [0, 0, 0, 1]], dtype=np.float64)
        if np.isfinite(rows).all() or header["qform_code"] <= 0:
            norms = np.linalg.norm(rows[:3, :3], axis=0)
            positions[SFORM] = rows
            positions[SFORM_SPACING] = rows.copy()
            positions[SFORM_SPACING][:3, :3] *= np.divide(spacing, norms, out=np.zeros(3), where=norms > 0)
    if header["qform_code"] > 0:
        matrix = np.eye(4)
        matrix[:3, :3] = _rotation(header) * spacing
        matrix[:3, 3] = _finite(*[header[f"qoffset_{axis}"] for axis in "xyz"])
        positions[QFORM] = matrix
    return positions


def _finite(*values: Any) -> Matrix:
    """Replace NaN and infinity by 0, as the NIfTI reference library (nifti1_io) does."""
    return np.nan_to_num(np.array(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def voxel_sizes(header: Any) -> Matrix:
    """Return pixdim of the first three axes, with 1 for 0, NaN and infinity, as in the NIfTI reference library."""
    spacing = _finite(*header["pixdim"][1:4])
    return np.where(spacing == 0, 1.0, spacing)


def _rotation(header: Any) -> Matrix:
    """Return the rotation matrix of the qform; quaternions longer than 1 are normalised."""
    b, c, d = vector = _finite(*[header[f"quatern_{axis}"] for axis in "bcd"])
    rest = 1.0 - float(vector @ vector)
    if rest < 1e-7:
        b, c, d = vector / np.linalg.norm(vector)
    a = np.sqrt(rest) if rest >= 1e-7 else 0.0
    qfac = -1.0 if header["pixdim"][0] < 0 else 1.0
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    return rotation * [1.0, 1.0, qfac]


def spatial_dimension(header: Any) -> int:
    """Return the number of spatial axes of the image in ITK, 2 or 3."""
    return max(2, min(3, int(header["dim"][0])))


def spatial_lengths(header: Any) -> list[int]:
    """Return the numbers of voxels along the spatial axes; 1 for an axis that the file does not have."""
    count = int(header["dim"][0])
    return [int(header["dim"][axis]) if axis <= count else 1 for axis in range(1, 1 + spatial_dimension(header))]
