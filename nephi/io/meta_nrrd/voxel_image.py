"""Read scalar images and vectors from MetaImage and NRRD files (`.mha`, `.mhd`, `.nrrd`, `.nhdr`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nephi.errors import DataError
from nephi.geometry.flat import flattened
from nephi.images import Image
from nephi.images.voxels import Array, voxels_to_tensor
from nephi.io.files.input_files import prefix_errors, suffix_of
from nephi.io.meta_nrrd.meta_header import read_meta_header
from nephi.io.meta_nrrd.nrrd_header import read_nrrd_header
from nephi.io.meta_nrrd.voxel_file import VoxelFile


def read_voxel_header(path: Path) -> VoxelFile:
    """Read the header of a MetaImage or NRRD file, chosen by suffix; errors are those of the two readers."""
    return read_meta_header(path) if suffix_of(path) in (".mha", ".mhd") else read_nrrd_header(path)


def read_voxel_image(path: Path) -> Image:
    """Read a 2-D or 3-D image of one number per voxel; raise `DataError` naming the file for anything else."""
    file = read_voxel_header(path)
    if file.channels > 1:
        raise DataError(
            f"{path}: expected one real number per voxel, found {file.channels} (a colour or vector image); extract "
            "one channel first"
        )
    grid = flattened(file.grid, path)
    stored = file.read().T.reshape(grid.shape)
    with prefix_errors(path):
        data, stored_type = voxels_to_tensor(stored)
    return Image(data, grid, stored_type=stored_type, name=str(path))


def read_voxel_vectors(path: Path) -> tuple[Array, VoxelFile]:
    """Read vectors `([z, ]y, x, D)` as float32, and their header.

    Raises `DataError` naming the file unless it has D real numbers per voxel.
    """
    file = read_voxel_header(path)
    d = len(file.shape)
    if file.channels != d or file.dtype.kind != "f":
        raise DataError(
            f"{path}: expected a displacement field with {d} real components per voxel, found {file.channels} of type "
            f"{file.dtype.newbyteorder('=').name}"
        )
    return file.read().astype(np.float32, copy=False), file
