"""Voxel-to-world matrix of a NIfTI header: the one of ITK, with a warning about every contradiction.

A header can state two positions, qform and sform, that differ from each other or from the voxel sizes in `pixdim`, or
none. nephi uses the position of ITK (SimpleITK, ANTs), so that exported fields are correct there, and warns about
contradictions beyond 0.01 voxels. ITK takes directions and origin from sform or qform, and voxel sizes from `pixdim`
(`NiftiImageIO::SetImageIOOrientationFromNIfTI` in ITK 5.4).
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from nephi.errors import warn
from nephi.geometry.frames import SHEAR_TOLERANCE, flip_matrix
from nephi.io.nifti.forms import (
    QFORM,
    SFORM,
    SFORM_SPACING,
    Matrix,
    spatial_dimension,
    spatial_lengths,
    stated_positions,
    voxel_sizes,
)
from nephi.io.nifti.itk_position import matrix_of_itk

TOLERANCE = 0.01  # voxels
EQUAL = 1e-4  # mm; smaller differences of origins and voxel sizes are equal for ITK
LIMITS = 1e-6, 1e6  # mm; no image has lengths beyond
MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}  # codes of metre, millimetre and micrometre


def world_matrix(header: Any, path: Path) -> Matrix:
    """Compute the 4x4 voxel-to-world matrix (RAS, mm) of a NIfTI-1 or NIfTI-2 header.

    If ITK refuses the header (a sheared sform without a qform), the matrix is the sform. Warns about contradicting
    positions, a header without a position, unusual fields, and units other than mm.
    """
    with np.errstate(all="ignore"):  # numbers of damaged headers may overflow
        return _world_matrix(header, path)


def _world_matrix(header: Any, path: Path) -> Matrix:
    _warn_about_fields(header, path)
    scale = np.diag([*[_unit_in_mm(header, path)] * 3, 1.0])
    positions = stated_positions(header)
    if not positions:
        return scale @ _default_matrix(header, path)
    difference, selected, reason = _select_position(header, positions)
    matrix = scale @ selected
    distances = {name: _corner_distance(header, matrix, scale @ other) for name, other in positions.items()}
    if SFORM in positions:
        tolerance = TOLERANCE * _smallest_step(header, [positions[SFORM]])
        if _corner_distance(header, positions[SFORM], positions[SFORM_SPACING]) <= tolerance:
            del distances[SFORM_SPACING]
    if difference > TOLERANCE and _has_volume(header, matrix):  # Grid rejects a matrix without volume
        name, other = min(distances, key=distances.__getitem__), max(distances, key=distances.__getitem__)
        warn(
            f"{path}: the header contradicts itself: by {name} and {other} the corners of the image are up to "
            f"{distances[other]:.4g} mm apart (codes: qform {int(header['qform_code'])}, sform "
            f"{int(header['sform_code'])}); {name} is used, {reason}. If that is wrong, "
            "write the correct position into both (nibabel: set_qform, set_sform)"
        )
    return matrix


def _select_position(header: Any, positions: dict[str, Matrix]) -> tuple[float, Matrix, str]:
    """Return the largest difference between positions, in voxels, the matrix to use, and the reason for it."""
    size = _smallest_step(header, list(positions.values()))
    distances = [_corner_distance(header, a, b) for a, b in itertools.combinations(positions.values(), 2)]
    distance = max(distances, default=0.0)
    difference = distance / size if size > 0 else float(distance > 0) * np.inf
    preferred = positions.get(SFORM, positions.get(QFORM))
    assert preferred is not None
    if not difference > TOLERANCE:
        d = spatial_dimension(header)
        sheared = SFORM in positions and QFORM in positions and _is_sheared(preferred[:d, :d])
        return difference, positions[QFORM] if sheared else preferred, ""
    if SFORM in positions and _itk_uses_sform(header, positions):
        return difference, positions[SFORM_SPACING], "as in ITK and ANTs"
    if QFORM in positions:
        return difference, positions[QFORM], "as in ITK and ANTs"
    return difference, preferred, "as in nibabel; ITK and ANTs refuse the file"


def _itk_uses_sform(header: Any, positions: dict[str, Matrix]) -> bool:
    """Return whether ITK uses the sform: its axes are perpendicular, and its code is 1 or no qform differs from it."""
    sform, qform = positions[SFORM], positions.get(QFORM)
    values = np.linalg.svd(sform, compute_uv=False) if np.isfinite(sform).all() else np.zeros(4)
    if not values.min() > np.finfo(np.float64).eps * values.max() or _is_sheared(sform[:3, :3]):
        return False
    return qform is None or header["sform_code"] == 1 or _itk_considers_equal(header, sform, qform)


def _itk_considers_equal(header: Any, sform: Matrix, qform: Matrix) -> bool:
    """Return whether sform and qform are equal for ITK, which compares origins and a singular value decomposition.

    ITK may miss a reversed axis, depending on the signs of its decomposition. In that case the comparison is done by
    SimpleITK itself, which reads a file of one voxel.
    """
    values = [np.linalg.svd(matrix[:3, :3], compute_uv=False) for matrix in (sform, qform)]
    if np.abs(sform[:3, 3] - qform[:3, 3]).max() > EQUAL or np.abs(values[0] - values[1]).max() > EQUAL:
        return False
    if not (LIMITS[0] < values[0].min() and values[0].max() < LIMITS[1] and np.abs(sform).max() < LIMITS[1]):
        return False  # ITK's decomposition does not terminate for some huge numbers
    used = matrix_of_itk(header)
    return used is not None and _corner_distance(header, used, sform) < _corner_distance(header, used, qform)


def _matrix_without_position(header: Any) -> Matrix:
    """Return the identity in LPS, scaled by the voxel sizes."""
    return flip_matrix(3).numpy() @ np.diag([*voxel_sizes(header), 1.0])


def _default_matrix(header: Any, path: Path) -> Matrix:
    """Return ITK's matrix of a header without a position: the identity in LPS, scaled by the voxel sizes."""
    warn(
        f"{path}: the header has no position (qform and sform codes 0): the first voxel is at the origin, and the axes "
        "point left, back and up, as in ITK and ANTs; nibabel and FSL use another position. If the position is known, "
        "write it into the header"
    )
    return _matrix_without_position(header)


def analyze_matrix(header: Any, path: Path) -> Matrix:
    """Return ITK's 4x4 voxel-to-world matrix of an Analyze file: the identity in LPS, scaled by the voxel sizes."""
    warn(
        f"{path}: Analyze 7.5 files have no position and do not distinguish left from right: the first voxel is at "
        "the origin, and the axes point left, back and up, as in ITK and ANTs; the origin and .mat file of SPM are not "
        "used. Convert the image to NIfTI with the software that wrote it"
    )
    return _matrix_without_position(header)


def _unit_in_mm(header: Any, path: Path) -> float:
    """Return the unit of the header in mm; warn if it is not 1."""
    code = int(header["xyzt_units"]) & 7
    factor = MILLIMETRES.get(code, 1.0)
    if factor != 1.0:
        warn(
            f"{path}: the header's unit is {'the metre' if code == 1 else 'the micrometre'}: its numbers are "
            f"multiplied by {factor:g}, as in ITK and ANTs; nibabel and FSL read them as mm. If they are in mm, "
            "correct the unit (nibabel: header.set_xyzt_units)"
        )
    return factor


def _warn_about_fields(header: Any, path: Path) -> None:
    """Warn about invalid voxel sizes, qfac, offsets and quaternions, stating how they are interpreted."""
    pixdim = np.array(header["pixdim"], dtype=np.float64)
    used = pixdim[1 : 1 + spatial_dimension(header)][np.array(spatial_lengths(header)) > 1]
    if not (np.isfinite(used) & (used > 0)).all():
        warn(
            f"{path}: expected positive voxel sizes in pixdim, found {_format_numbers(pixdim[1:4])}: a negative size "
            "reverses its axis, 0 and NaN are read as 1, as in ITK and ANTs; check the position of the image"
        )
    if header["qform_code"] <= 0:
        return
    if header["sform_code"] > 0 and not np.isfinite([header["srow_x"], header["srow_y"], header["srow_z"]]).all():
        warn(f"{path}: the sform holds NaN or infinity; the qform is used. Check the position of the image")
    if pixdim[0] not in (-1, 0, 1):
        warn(f"{path}: expected a qfac (pixdim[0]) of 1 or -1, found {pixdim[0]:g}; its sign is used, as in ITK")
    vector = np.array([header[f"quatern_{axis}"] for axis in "bcd"], dtype=np.float64)
    offset = np.array([header[f"qoffset_{axis}"] for axis in "xyz"], dtype=np.float64)
    if not (float(vector @ vector) <= 1 + 1e-5 and np.isfinite(offset).all()):
        warn(
            f"{path}: expected a unit quaternion and finite offsets in the qform, found {_format_numbers(vector)} and "
            f"{_format_numbers(offset)}: long quaternions are normalised, NaN and infinity are read as 0, as in ITK "
            "and ANTs; check the position of the image"
        )


def _format_numbers(values: Matrix) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


def _corner_distance(header: Any, a: Matrix, b: Matrix) -> float:
    """Compute the largest distance between the positions of an image corner by two matrices."""
    lengths = [*spatial_lengths(header), 1, 1][:3]
    corners = np.array(list(itertools.product(*[(0, n - 1) for n in lengths])), dtype=np.float64)
    offsets = corners @ (a - b)[:3, :3].T + (a - b)[:3, 3]
    distance = float(np.linalg.norm(offsets[:, : spatial_dimension(header)], axis=1).max())
    return distance if np.isfinite(distance) else np.inf


def _smallest_step(header: Any, matrices: list[Matrix]) -> float:
    """Compute the shortest distance between neighbouring voxels, over matrices and axes of more than one voxel."""
    axes = [axis for axis, length in enumerate(spatial_lengths(header)) if length > 1] or [0]
    return float(min(np.linalg.norm(matrix[:3, axis]) for matrix in matrices for axis in axes))


def _has_volume(header: Any, matrix: Matrix) -> bool:
    part = matrix[: spatial_dimension(header), : spatial_dimension(header)]
    return bool(np.isfinite(matrix).all() and abs(np.linalg.det(part)) > 1e-6 * np.linalg.norm(part, axis=0).prod())


def _is_sheared(axes: Matrix) -> bool:
    directions = axes / np.linalg.norm(axes, axis=0)
    return not bool(np.abs(directions.T @ directions - np.eye(len(axes))).max() <= SHEAR_TOLERANCE)
