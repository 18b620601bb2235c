"""Where a NIfTI header places its voxels.

A header can give two positions, qform and sform, that differ from each other or from the voxel sizes in `pixdim`, or
none. The rule: the image lies where ITK places it (SimpleITK, ANTs), because that is where the fields written here are
applied; every contradiction beyond 0.01 voxels is reported by `warn`. ITK takes the axes' directions and the origin
from sform or qform and the voxel sizes from `pixdim` (`NiftiImageIO::SetImageIOOrientationFromNIfTI` in ITK 5.4).
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephi.errors import warn
from nephi.io.frames import SHEAR_TOLERANCE, flip_matrix
from nephi.io.nifti.itk_position import matrix_of_itk

Matrix = NDArray[np.float64]

TOLERANCE = 0.01  # voxels
EQUAL = 1e-4  # mm; below that ITK takes origins and voxel sizes of two forms for equal
LIMITS = 1e-6, 1e6  # mm; lengths beyond are no image's
MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}  # codes of metre, millimetre and micrometre
QFORM, SFORM = "the qform", "the sform"
SFORM_SPACING = "the sform with the voxel sizes of pixdim"


def world_matrix(header: Any, path: Path) -> Matrix:
    """Return the 4x4 voxel-to-world matrix (RAS, mm) of the fields of a NIfTI-1 or NIfTI-2 header.

    Where ITK refuses the header (an sform with shear and no qform), the matrix is the sform. Warns of positions that
    contradict each other, of a header without any, of unusual fields, and of units other than mm.
    """
    with np.errstate(all="ignore"):  # damaged headers hold numbers of any size
        return _world_matrix(header, path)


def _world_matrix(header: Any, path: Path) -> Matrix:
    _warn_of_fields(header, path)
    scale = np.diag([*[_millimetres(header, path)] * 3, 1.0])
    found = _readings(header)
    if not found:
        return scale @ _without_position(header, path)
    largest, used, reason = _choose(header, found)
    matrix = scale @ used
    gaps = {name: _gap(header, matrix, scale @ other) for name, other in found.items()}
    if SFORM in found and _gap(header, found[SFORM], found[SFORM_SPACING]) <= TOLERANCE * _smallest_step(
        header, [found[SFORM]]
    ):
        del gaps[SFORM_SPACING]
    if largest > TOLERANCE and _has_volume(header, matrix):  # others are refused by the grid
        name, other = min(gaps, key=gaps.__getitem__), max(gaps, key=gaps.__getitem__)
        warn(
            f"{path}: the header contradicts itself: {name} and {other} place the farthest corner {gaps[other]:.4g} mm "
            f"apart (codes: qform {int(header['qform_code'])}, sform {int(header['sform_code'])}); {name} is used, "
            f"{reason}. If that is wrong, write the right position into both (nibabel: set_qform, set_sform)"
        )
    return matrix


def _choose(header: Any, found: dict[str, Matrix]) -> tuple[float, Matrix, str]:
    """Return how far the readings are apart, in voxels, the matrix to use, and why."""
    size = _smallest_step(header, list(found.values()))
    gaps = [_gap(header, a, b) for a, b in itertools.combinations(found.values(), 2)]
    largest = max(gaps, default=0.0) / size if size > 0 else float(max(gaps, default=0.0) > 0) * np.inf
    preferred = found.get(SFORM, found.get(QFORM))
    assert preferred is not None
    if not largest > TOLERANCE:
        d = _dimensions(header)
        sheared = SFORM in found and QFORM in found and _is_sheared(preferred[:d, :d])
        return largest, found[QFORM] if sheared else preferred, ""
    if SFORM in found and _sform_counts(header, found):
        return largest, found[SFORM_SPACING], "as in ITK and ANTs"
    if QFORM in found:
        return largest, found[QFORM], "as in ITK and ANTs"
    return largest, preferred, "as in nibabel; ITK and ANTs refuse the file"


def _sform_counts(header: Any, found: dict[str, Matrix]) -> bool:
    """Return whether ITK takes the sform: with perpendicular axes, and without another qform or with code 1."""
    sform, qform = found[SFORM], found.get(QFORM)
    values = np.linalg.svd(sform, compute_uv=False) if np.isfinite(sform).all() else np.zeros(4)
    if not values.min() > np.finfo(np.float64).eps * values.max() or _is_sheared(sform[:3, :3]):
        return False
    return qform is None or header["sform_code"] == 1 or _are_equal_for_itk(header, sform, qform)


def _are_equal_for_itk(header: Any, sform: Matrix, qform: Matrix) -> bool:
    """Return whether ITK takes two forms for equal: it compares origins and part of a singular value decomposition.

    A reversed axis can escape it, depending on the signs that its decomposition gives: then SimpleITK
    places a file of one voxel.
    """
    values = [np.linalg.svd(matrix[:3, :3], compute_uv=False) for matrix in (sform, qform)]
    if np.abs(sform[:3, 3] - qform[:3, 3]).max() > EQUAL or np.abs(values[0] - values[1]).max() > EQUAL:
        return False
    if not (LIMITS[0] < values[0].min() and values[0].max() < LIMITS[1] and np.abs(sform).max() < LIMITS[1]):
        return False  # ITK's decomposition does not end for some huge numbers
    placed = matrix_of_itk(header)
    return placed is not None and _gap(header, placed, sform) < _gap(header, placed, qform)


def _readings(header: Any) -> dict[str, Matrix]:
    """Return every position that the header gives, in its own unit."""
    found: dict[str, Matrix] = {}
    spacing = _spacing(header)
    if header["sform_code"] > 0:
        rows = np.array([header["srow_x"], header["srow_y"], header["srow_z"], [0, 0, 0, 1]], dtype=np.float64)
        if np.isfinite(rows).all() or header["qform_code"] <= 0:
            norms = np.linalg.norm(rows[:3, :3], axis=0)
            found[SFORM] = rows
            found[SFORM_SPACING] = rows.copy()
            found[SFORM_SPACING][:3, :3] *= np.divide(spacing, norms, out=np.zeros(3), where=norms > 0)
    if header["qform_code"] > 0:
        matrix = np.eye(4)
        matrix[:3, :3] = _rotation(header) * spacing
        matrix[:3, 3] = _finite(*[header[f"qoffset_{axis}"] for axis in "xyz"])
        found[QFORM] = matrix
    return found


def _finite(*values: Any) -> Matrix:
    """Return numbers with 0 for NaN and infinity, as NIfTI's own library reads them."""
    return np.nan_to_num(np.array(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _spacing(header: Any) -> Matrix:
    """Return pixdim of the first three axes; 1 for 0, NaN and infinity, as NIfTI's own library reads them."""
    spacing = _finite(*header["pixdim"][1:4])
    return np.where(spacing == 0, 1.0, spacing)


def _rotation(header: Any) -> Matrix:
    """Return the directions of the qform's axes (columns); quaternions longer than 1 are normalised."""
    b, c, d = vector = _finite(*[header[f"quatern_{axis}"] for axis in "bcd"])
    rest = 1.0 - float(vector @ vector)
    if rest < 1e-7:
        b, c, d = vector / np.linalg.norm(vector)
    a = np.sqrt(rest) if rest >= 1e-7 else 0.0
    third = -1.0 if header["pixdim"][0] < 0 else 1.0
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    return rotation * [1.0, 1.0, third]


def _without_position(header: Any, path: Path) -> Matrix:
    """Return ITK's matrix of a header without position: the identity in LPS, scaled by the voxel sizes."""
    warn(
        f"{path}: the header gives no position (qform and sform codes 0): the first voxel is placed at the origin, the "
        "axes along left, back and head, as in ITK and ANTs; nibabel and FSL place it elsewhere. If the image has a "
        "known position, copy it into the header"
    )
    return flip_matrix(3).numpy() @ np.diag([*_spacing(header), 1.0])


def analyze_matrix(header: Any, path: Path) -> Matrix:
    """Return the 4x4 voxel-to-world matrix at which ITK places an Analyze file: the identity in LPS, scaled."""
    warn(
        f"{path}: Analyze 7.5 files hold no position and do not distinguish left from right: the first voxel is "
        "placed at the origin, the axes along left, back and head, as in ITK and ANTs; SPM's origin and .mat "
        "file are not used. Convert the image to NIfTI with a tool that knows how it was written"
    )
    return flip_matrix(3).numpy() @ np.diag([*_spacing(header), 1.0])


def _millimetres(header: Any, path: Path) -> float:
    code = int(header["xyzt_units"]) & 7
    factor = MILLIMETRES.get(code, 1.0)
    if factor != 1.0:
        warn(
            f"{path}: the header's unit is {'the metre' if code == 1 else 'the micrometre'}: its numbers are "
            f"multiplied by {factor:g}, as in ITK and ANTs; nibabel and FSL take them as mm. If they are mm, set the "
            "unit (nibabel: header.set_xyzt_units)"
        )
    return factor


def _warn_of_fields(header: Any, path: Path) -> None:
    """Warn of voxel sizes, qfac and quaternions that no tool should have written, and of how they are read."""
    pixdim = np.array(header["pixdim"], dtype=np.float64)
    used = pixdim[1 : 1 + _dimensions(header)][np.array(_lengths(header)) > 1]
    if not (np.isfinite(used) & (used > 0)).all():
        warn(
            f"{path}: expected positive voxel sizes in pixdim, found {_listed(pixdim[1:4])}: a negative one reverses "
            "its axis, 0 and NaN count as 1, as in ITK and ANTs; check the position of the image"
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
            f"{path}: expected a unit quaternion and finite offsets in the qform, found {_listed(vector)} and "
            f"{_listed(offset)}: long ones are normalised, NaN and infinity count as 0, as in ITK and ANTs; check the "
            "position of the image"
        )


def _listed(values: Matrix) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


def _dimensions(header: Any) -> int:
    """Return the number of axes that ITK gives the image: 2 or 3."""
    return max(2, min(3, int(header["dim"][0])))


def _lengths(header: Any) -> list[int]:
    """Return the voxels along the axes of the image; an axis that the file does not have has one."""
    given = int(header["dim"][0])
    return [int(header["dim"][axis]) if axis <= given else 1 for axis in range(1, 1 + _dimensions(header))]


def _gap(header: Any, a: Matrix, b: Matrix) -> float:
    """Return how far apart two matrices place a corner of the image, at most."""
    lengths = [*_lengths(header), 1, 1][:3]
    corners = np.array(list(itertools.product(*[(0, n - 1) for n in lengths])), dtype=np.float64)
    apart = corners @ (a - b)[:3, :3].T + (a - b)[:3, 3]
    gap = float(np.linalg.norm(apart[:, : _dimensions(header)], axis=1).max())
    return gap if np.isfinite(gap) else np.inf


def _smallest_step(header: Any, matrices: list[Matrix]) -> float:
    """Return the shortest distance between neighbouring voxels, over all axes of more than one voxel."""
    axes = [axis for axis, length in enumerate(_lengths(header)) if length > 1] or [0]
    return float(min(np.linalg.norm(matrix[:3, axis]) for matrix in matrices for axis in axes))


def _has_volume(header: Any, matrix: Matrix) -> bool:
    part = matrix[: _dimensions(header), : _dimensions(header)]
    return bool(np.isfinite(matrix).all() and abs(np.linalg.det(part)) > 1e-6 * np.linalg.norm(part, axis=0).prod())


def _is_sheared(axes: Matrix) -> bool:
    directions = axes / np.linalg.norm(axes, axis=0)
    return not bool(np.abs(directions.T @ directions - np.eye(len(axes))).max() <= SHEAR_TOLERANCE)
