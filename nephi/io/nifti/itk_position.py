"""Voxel-to-world matrix that SimpleITK reads from a NIfTI header."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephi.geometry.frames import flip_matrix
from nephi.io.files.input_files import reading
from nephi.io.itk import itk_warnings, simpleitk
from nephi.io.nifti.layout import NIFTI_1

Matrix = NDArray[np.float64]


def matrix_of_itk(header: Any) -> Matrix | None:
    """Return SimpleITK's voxel-to-world matrix (RAS) for a header, in the header's unit; None if it refuses the header.

    SimpleITK reads a temporary file of one voxel that has the position fields of the header, and no other.
    """
    d = max(2, min(3, int(header["dim"][0])))
    fields = np.zeros((), NIFTI_1)
    for name in ("qform_code", "sform_code"):
        fields[name] = np.clip(header[name], -(2**15), 2**15 - 1)  # NIfTI-2 has wider integers
    for name in ("pixdim", "quatern_b", "quatern_c", "quatern_d"):
        fields[name] = header[name]
    for name in ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"):
        fields[name] = header[name]
    fields["sizeof_hdr"], fields["magic"], fields["vox_offset"] = 348, b"n+1", 352
    fields["dim"], fields["datatype"], fields["bitpix"], fields["xyzt_units"] = [d, *[1] * 7], 2, 8, 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "position.nii"
        with reading(path, "a position"):
            path.write_bytes(fields.tobytes() + bytes(5))
        with itk_warnings():
            try:
                image = simpleitk().ReadImage(str(path))
            except RuntimeError:
                return None
    matrix = np.eye(4)
    matrix[:d, :d] = np.reshape(image.GetDirection(), (d, d)) * image.GetSpacing()
    matrix[:d, 3] = image.GetOrigin()
    matrix = flip_matrix(3).numpy() @ matrix
    return matrix if np.isfinite(matrix).all() else None
