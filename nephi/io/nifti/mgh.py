"""Headers of FreeSurfer's volumes, `.mgh` and (gzipped) `.mgz`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nephi.errors import DataError, warn
from nephi.io.files.gzipped import content_of
from nephi.io.files.input_files import reading
from nephi.io.stored_volume import StoredVolume
from nephi.io.voxels import UNSCALED

VERSION = 1
OFFSET = 284  # bytes in front of the voxels
TYPES = {0: "u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
CORONAL = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # FreeSurfer's own for files without position


def read_mgh_header(path: Path) -> StoredVolume:
    """Read the header of a `.mgh` or `.mgz` file: big-endian, positions in RAS mm, several frames as a fourth axis.

    Raises `DataError` when the file is missing, damaged, no MGH file, or announces what cannot be.
    """
    from nibabel.freesurfer.mghformat import header_dtype

    content = content_of(path)
    with reading(path, "an MGH file"), content.open() as stream:
        block = stream.read(header_dtype.itemsize)
    if len(block) < header_dtype.itemsize or int.from_bytes(block[:4], "big") != VERSION:
        raise DataError(f"{path}: expected an MGH file of FreeSurfer, could not read it: found other contents")
    content.warn_of_suffix()
    header: Any = np.frombuffer(block, header_dtype, 1)[0]
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
    """Return the voxel-to-world matrix: the header gives directions, voxel sizes and the world position of the middle.

    (The middle is voxel n / 2, as FreeSurfer counts.)
    """
    steps, middle = np.array(header["Mdc"], np.float64).T * header["delta"], np.array(header["Pxyz_c"], np.float64)
    if header["goodRASFlag"] <= 0:
        warn(
            f"{path}: the header gives no position (goodRASFlag 0): coronal slices of 1 mm voxels around the origin "
            "are assumed, as in FreeSurfer; if the image has a known position, convert it with its orientation given"
        )
        steps, middle = CORONAL, np.zeros(3)
    matrix = np.eye(4)
    matrix[:3, :3] = steps
    matrix[:3, 3] = middle - steps @ (np.array(shape[:3]) / 2)
    return matrix
