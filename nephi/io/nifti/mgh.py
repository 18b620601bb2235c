"""Read headers of FreeSurfer's volumes, `.mgh` and (gzipped) `.mgz`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nephi.errors import DataError, warn
from nephi.images.voxels import UNSCALED
from nephi.io.files.gzipped import content_of
from nephi.io.files.input_files import reading
from nephi.io.stored_volume import StoredVolume

VERSION = 1
OFFSET = 284  # bytes before the voxels
TYPES = {0: "u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
FIELDS = np.dtype(
    [
        *(("version", ">i4"), ("dims", ">i4", 4), ("type", ">i4"), ("dof", ">i4"), ("goodRASFlag", ">i2")),
        *(("delta", ">f4", 3), ("Mdc", ">f4", (3, 3)), ("Pxyz_c", ">f4", 3)),
    ]
)
"""The header; `Mdc` has the directions of the axes as rows, `Pxyz_c` is the position of the centre."""
CORONAL = np.array(
    [[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]
)  # FreeSurfer's default for files without position


def read_mgh_header(path: Path) -> StoredVolume:
    """Read the header of a `.mgh` or `.mgz` file; the file is big-endian, with positions in RAS mm.

    Several frames are a fourth axis. Raises `DataError` when the file is missing, damaged or not an MGH file, or a
    field has an invalid value.
    """
    content = content_of(path)
    with reading(path, "an MGH file"), content.open() as stream:
        block = stream.read(FIELDS.itemsize)
    if len(block) < FIELDS.itemsize or int.from_bytes(block[:4], "big") != VERSION:
        raise DataError(f"{path}: expected an MGH file of FreeSurfer, could not read it: found other contents")
    content.warn_of_suffix()
    header: Any = np.frombuffer(block, FIELDS, 1)[0]
    shape = tuple(int(n) for n in header["dims"])
    if min(shape) < 1:
        raise DataError(f"{path}: expected axes of at least one voxel, found {shape}; the header is damaged")
    if int(header["type"]) not in TYPES:
        known = ", ".join(map(str, TYPES))
        raise DataError(f"{path}: expected a voxel type among {known}, found {int(header['type'])}; convert the file")
    return StoredVolume(
        path=path,
        content=content,
        shape=shape if shape[3] > 1 else shape[:3],
        dtype=np.dtype(TYPES[int(header["type"])]),
        offset=OFFSET,
        scaling=UNSCALED,
        compute_affine=lambda: _matrix(header, shape, path),
        time_step=0.0,
        time_unit="unknown",
    )


def _matrix(header: Any, shape: tuple[int, ...], path: Path) -> Any:
    """Return the 4x4 voxel-to-world matrix from directions, voxel sizes and the world position of the centre.

    The centre is the voxel n / 2, by FreeSurfer's definition.
    """
    steps, centre = np.array(header["Mdc"], np.float64).T * header["delta"], np.array(header["Pxyz_c"], np.float64)
    if header["goodRASFlag"] <= 0:
        warn(
            f"{path}: the header has no position (goodRASFlag 0): coronal slices of 1 mm voxels around the origin "
            "are assumed, as in FreeSurfer; if the position is known, convert the image with it (mri_convert)"
        )
        steps, centre = CORONAL, np.zeros(3)
    matrix = np.eye(4)
    matrix[:3, :3] = steps
    matrix[:3, 3] = centre - steps @ (np.array(shape[:3]) / 2)
    return matrix
