"""Read headers and voxels of NIfTI, Analyze and MGH files; large uncompressed files are memory-mapped."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from nephi.images import Image, Mapping
from nephi.images.voxels import Array, voxels_to_tensor
from nephi.io.files.gzipped import is_stream
from nephi.io.files.input_files import (
    MGH_SUFFIXES,
    NIFTI_SUFFIXES,
    PAIR_SUFFIXES,
    is_folder,
    prefix_errors,
    reading,
    suffix_of,
)
from nephi.io.nifti.header import read_header
from nephi.io.nifti.mgh import read_mgh_header
from nephi.io.stored_volume import StoredVolume, verify_checksum

HEADER_SUFFIXES = (*NIFTI_SUFFIXES, *PAIR_SUFFIXES, *MGH_SUFFIXES)
MAPPED_FROM = 2**26  # bytes of a file; smaller files are read, so that later changes of the file have no effect


def read_volume_header(path: Path) -> StoredVolume | None:
    """Read the header of a file with one of `HEADER_SUFFIXES`; return None for other suffixes and for folders.

    A pipe or `/dev/stdin`, which has no suffix, is read as NIfTI. Raises `DataError` for a damaged file.
    """
    if is_folder(path):
        return None
    suffix = suffix_of(path)
    if suffix in MGH_SUFFIXES:
        return read_mgh_header(path)
    return read_header(path) if suffix in HEADER_SUFFIXES or is_stream(path) else None


def image_of_file(file: StoredVolume) -> Image:
    """Read the one 2-D or 3-D volume of a file; a large uncompressed file is memory-mapped."""
    file.require_scalars()
    file.require_one_volume()
    grid = file.grid
    file.require_length()
    shape = (*file.shape, 1, 1, 1)[:3]
    mapping: Mapping | None = None
    with reading(file.path, "an image"):
        if file.content.compressed or file.content.data is not None or file.end < MAPPED_FROM:
            with file.open_voxels() as stream:
                stored = file.read_block(stream, shape)
                verify_checksum(stream)
        else:
            stored, mapping = _map_voxels(file, shape)
    with prefix_errors(file.path):
        data, stored_type = voxels_to_tensor(stored.reshape(grid.shape, order="F"), file.scaling)
    return Image(data, grid, stored_type=stored_type, name=str(file.path), mapping=mapping)


def _map_voxels(file: StoredVolume, shape: tuple[int, ...]) -> tuple[Array, Mapping]:
    """Memory-map the voxels of a file, copy-on-write, because torch does not accept read-only arrays."""
    with open(file.content.path, "rb") as opened:
        mapped = mmap.mmap(opened.fileno(), file.end, access=mmap.ACCESS_COPY)
    stored: Array = np.ndarray(shape, file.dtype, mapped, file.offset, order="F")
    address = int(stored.__array_interface__["data"][0]) - file.offset
    return stored, Mapping(str(file.path), address, file.end, mapped.size)
