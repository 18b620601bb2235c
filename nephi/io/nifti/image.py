"""Voxels of NIfTI files, read and written without a second copy in memory."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.images import Image, Mapping
from nephi.io.encoding import encode_voxels, file_type
from nephi.io.files.atomic import replacing
from nephi.io.files.gzipped import open_output
from nephi.io.files.input_files import prefix_errors, reading
from nephi.io.nifti.header import header_bytes
from nephi.io.stored_volume import StoredVolume, verify_checksum
from nephi.io.voxels import Array, slabs, voxels_to_tensor

MAPPED_FROM = 2**26  # bytes of a file; smaller ones are read: nothing can happen to them then


def image_of_file(file: StoredVolume) -> Image:
    """Read the one 2-D or 3-D volume of a file; a large uncompressed one is mapped where its type allows."""
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
            stored, mapping = _mapped(file, shape)
    with prefix_errors(file.path):
        data, stored_type = voxels_to_tensor(stored.reshape(grid.shape, order="F"), file.scaling)
    return Image(data, grid, stored_type=stored_type, name=str(file.path), mapping=mapping)


def _mapped(file: StoredVolume, shape: tuple[int, ...]) -> tuple[Array, Mapping]:
    """Map the voxels of a file; changes of the array stay in memory (torch does not accept read-only arrays)."""
    with open(file.content.path, "rb") as opened:
        mapped = mmap.mmap(opened.fileno(), file.end, access=mmap.ACCESS_COPY)
    stored: Array = np.ndarray(shape, file.dtype, mapped, file.offset, order="F")
    address = int(stored.__array_interface__["data"][0]) - file.offset
    return stored, Mapping(str(file.path), address, file.end, mapped.size)


def write_nifti(image: Image, path: Path) -> None:
    """Write a `.nii` or `.nii.gz` file, slab by slab, in `image.voxel_type`."""
    with slab_writer(path, image.grid, image.voxel_type) as append:
        for start, stop in slabs(image.grid.shape):
            append(image.data[..., start:stop])


@contextmanager
def slab_writer(path: str | Path, grid: Grid, voxel_type: str) -> Iterator[Callable[[Tensor], None]]:
    """Give a function that appends slabs of the last axis, in order, to a `.nii` or `.nii.gz` file.

    For volumes that are computed slab by slab and never in memory as a whole. The file appears when the block ends
    well. Raises `UsageError` when slices are missing then, `DataError` for a file that cannot be written.
    """
    dtype, written = file_type(voxel_type), 0
    with replacing(Path(path)) as temporary, open_output(temporary) as stream:
        stream.write(header_bytes(path, grid, dtype))

        def append(slab: Tensor) -> None:
            nonlocal written
            stream.write(encode_voxels(slab, dtype, str(path)).tobytes(order="F"))
            written += slab.shape[-1]

        yield append
        if written != grid.shape[-1]:
            raise UsageError(f"{path}: expected {grid.shape[-1]} slices, {written} were written")


def write_block(stream: BinaryIO, image: Image, dtype: np.dtype[np.generic], path: Path) -> None:
    """Append the voxels to the file `path` in NIfTI's order, the first axis fastest."""
    for start, stop in slabs(image.grid.shape):
        stream.write(encode_voxels(image.data[..., start:stop], dtype, str(path)).tobytes(order="F"))
