"""The fields of NIfTI-1, NIfTI-2 and Analyze 7.5 headers, and the codes of voxel types and units.

Of `nifti1.h` and `nifti2.h` (R. W. Cox and others, nifti.nimh.nih.gov) and of Analyze's `dbh.h`, in the byte order of
this machine. They are stated here because nibabel, which has them as well, imports pydicom and costs every command 0.2
to 0.4 s.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPACE_UNITS = MappingProxyType({0: "unknown", 1: "meter", 2: "mm", 3: "micron"})
TIME_UNITS = MappingProxyType({8: "sec", 16: "msec", 24: "usec", 32: "hz", 40: "ppm", 48: "rads"})
_COLOUR = [(channel, "u1") for channel in "RGB"]
VOXEL_TYPES = MappingProxyType(
    {
        code: np.dtype(kind)
        for code, kind in (
            *((2, "u1"), (4, "i2"), (8, "i4"), (16, "f4"), (32, "c8"), (64, "f8"), (256, "i1"), (512, "u2")),
            *((768, "u4"), (1024, "i8"), (1280, "u8"), (1792, "c16"), (128, _COLOUR), (2304, [*_COLOUR, ("A", "u1")])),
        )
    }
)
"""Types by code (`datatype`); without 1 bit and 128-bit floats, which numpy lacks on most machines."""


def _record(text: str) -> np.dtype[Any]:
    """Return the type of a record, given as `name:type` or `name:type:count`."""
    fields = [word.split(":") for word in text.split()]
    return np.dtype([(name, kind, *(int(count) for count in counts)) for name, kind, *counts in fields])


_SHARED = """
    sizeof_hdr:i4 data_type:S10 db_name:S18 extents:i4 session_error:i2 regular:S1"""  # of Analyze and NIfTI-1
_ORIENTATION = """
    quatern_b:{0} quatern_c:{0} quatern_d:{0} qoffset_x:{0} qoffset_y:{0} qoffset_z:{0}
    srow_x:{0}:4 srow_y:{0}:4 srow_z:{0}:4"""

NIFTI_1 = _record(
    f"""{_SHARED} dim_info:u1 dim:i2:8 intent_p1:f4 intent_p2:f4 intent_p3:f4 intent_code:i2 datatype:i2 bitpix:i2
    slice_start:i2 pixdim:f4:8 vox_offset:f4 scl_slope:f4 scl_inter:f4 slice_end:i2 slice_code:u1 xyzt_units:u1
    cal_max:f4 cal_min:f4 slice_duration:f4 toffset:f4 glmax:i4 glmin:i4 descrip:S80 aux_file:S24 qform_code:i2
    sform_code:i2 {_ORIENTATION.format("f4")} intent_name:S16 magic:S4"""
)
NIFTI_2 = _record(
    f"""sizeof_hdr:i4 magic:S4 eol_check:i1:4 datatype:i2 bitpix:i2 dim:i8:8 intent_p1:f8 intent_p2:f8 intent_p3:f8
    pixdim:f8:8 vox_offset:i8 scl_slope:f8 scl_inter:f8 cal_max:f8 cal_min:f8 slice_duration:f8 toffset:f8
    slice_start:i8 slice_end:i8 descrip:S80 aux_file:S24 qform_code:i4 sform_code:i4 {_ORIENTATION.format("f8")}
    slice_code:i4 xyzt_units:i4 intent_code:i4 intent_name:S16 dim_info:u1 unused_str:S15"""
)
ANALYZE = _record(
    f"""{_SHARED} hkey_un0:S1 dim:i2:8 vox_units:S4 cal_units:S8 unused1:i2 datatype:i2 bitpix:i2 dim_un0:i2
    pixdim:f4:8 vox_offset:f4 funused1:f4 funused2:f4 funused3:f4 cal_max:f4 cal_min:f4 compressed:i4 verified:i4
    glmax:i4 glmin:i4 descrip:S80 aux_file:S24 orient:S1 originator:S10 generated:S10 scannum:S10 patient_id:S10
    exp_date:S10 exp_time:S10 hist_un0:S3 views:i4 vols_added:i4 start_field:i4 field_skip:i4 omax:i4 omin:i4 smax:i4
    smin:i4"""
)


def new_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return the header of a single file of NIfTI-1 for an array, without a position: a record of numpy to complete."""
    header: Any = np.zeros((), NIFTI_1)
    header["sizeof_hdr"], header["magic"] = NIFTI_1.itemsize, b"n+1"
    header["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    header["datatype"] = next(code for code, kind in VOXEL_TYPES.items() if kind == dtype)
    header["bitpix"] = 8 * dtype.itemsize
    header["pixdim"] = 1
    header["vox_offset"] = NIFTI_1.itemsize + 4
    header["scl_slope"] = 1
    return header


def set_position(header: Any, affine: NDArray[np.float64], qform_code: int) -> None:
    """State a voxel-to-world matrix `(4, 4)` (RAS): in the sform with code 1, and its nearest rotation in the qform."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    turned = affine[:3, :3] / spacing
    handedness = 1.0 if np.linalg.det(turned) > 0 else -1.0  # qfac: a quaternion has no mirror images
    turned[:, 2] *= handedness
    left, _, right = np.linalg.svd(turned)
    header["pixdim"][:4] = [handedness, *spacing]
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = quaternion(left @ right)
    header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = affine[:3, 3]
    header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]
    header["qform_code"], header["sform_code"] = qform_code, 1


def quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return b, c, d of the unit quaternion a + bi + cj + dk, a >= 0, of a rotation matrix.

    It is the eigenvector of a symmetric matrix with the largest eigenvalue, precise at any angle (I. Y. Bar-Itzhack,
    New method for extracting the quaternion from a rotation matrix, J. Guidance Control Dynamics 23, 2000).
    """
    r = rotation
    matrix = np.zeros((4, 4))  # the order is b, c, d, a
    matrix[:3, :3] = r + r.T - np.trace(r) * np.eye(3)
    matrix[3] = matrix[:, 3] = [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)]
    found = np.linalg.eigh(matrix).eigenvectors[:, -1]
    return found[:3] if found[3] >= 0 else -found[:3]
