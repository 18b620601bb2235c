"""Voxels of NIfTI files, read and written without a second copy in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io.atomic import replacing
from nephi.io.encoding import encoded, file_type
from nephi.io.foreign import naming, reading
from nephi.io.gzipped import open_input, open_output
from nephi.io.nifti_header import NiftiFile, header_bytes, read_header
from nephi.io.voxels import Array, held_voxels, slabs

CHUNK = 2**22  # bytes; gzip's readinto makes a copy of what it is asked for


def read_nifti(path: Path) -> Image:
    """Read one 2-D or 3-D volume. An uncompressed file is mapped into memory, not read, where its type allows."""
    file = read_header(path)
    require_one_volume(file)
    grid = file.grid
    shape = (*file.shape, 1, 1, 1)[:3]
    if path.suffix.lower() == ".gz":
        with reading(path, "a NIfTI file"), open_input(path) as stream:
            stream.seek(file.offset)
            stored = read_block(stream, file, shape)
            check_end(stream)
    else:
        require_length(file)
        with reading(path, "a NIfTI file"):
            # Mode "c": changes stay in memory. (torch does not accept read-only arrays without a warning.)
            stored = np.memmap(path, file.dtype, "c", file.offset, shape, order="F")
    with naming(path):
        data, stored_type = held_voxels(stored.reshape(grid.shape, order="F"), file.scaling)
    return Image(data, grid, stored_type=stored_type, name=str(path))


def require_one_volume(file: NiftiFile) -> None:
    """Raise `DataError` unless all axes beyond the third have length 1."""
    extra = file.shape[3:]
    if all(n == 1 for n in extra):
        return
    if all(n == 1 for n in extra[1:]):
        found, advice = f"a 4-D series of {extra[0]} volumes", "pick one, or use nephi apply for series"
    elif extra[0] == 1 and all(n == 1 for n in extra[2:]):
        found, advice = f"vectors of {extra[1]} components", "give an image, not a displacement field"
    else:
        found, advice = f"an array of shape {file.shape}", "extract one volume"
    raise DataError(f"{file.path}: expected one 2-D or 3-D volume, found {found}; {advice}")


def require_length(file: NiftiFile) -> None:
    """Raise `DataError` when an uncompressed file is shorter than its header announces."""
    needed = file.offset + int(np.prod(file.shape, dtype=np.int64)) * file.dtype.itemsize
    found = file.path.stat().st_size
    if found < needed:
        raise _incomplete(file, needed, found)


def read_block(stream: BinaryIO, file: NiftiFile, shape: tuple[int, ...]) -> Array:
    """Read the next `shape` voxels, as stored; the first axis is the fastest, as NIfTI has it.

    Raises `DataError` when the file ends early.
    """
    block: Array = np.empty(shape, file.dtype, order="F")
    target = block.reshape(-1, order="F").view(np.uint8).data
    filled = 0
    while filled < len(target):
        count = stream.readinto(target[filled : filled + CHUNK])  # type: ignore[attr-defined]
        if not count:
            raise _incomplete(file, len(target), filled)
        filled += count
    return block


def check_end(stream: BinaryIO) -> None:
    """Look beyond the last voxel: that is where gzip compares its checksum, and raises when the data is damaged."""
    stream.read(1)


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
            stream.write(encoded(slab, dtype, str(path)).tobytes(order="F"))
            written += slab.shape[-1]

        yield append
        if written != grid.shape[-1]:
            raise UsageError(f"{path}: expected {grid.shape[-1]} slices, {written} were written")


def write_block(stream: BinaryIO, image: Image, dtype: np.dtype[np.generic], path: Path) -> None:
    """Append the voxels to the file `path` in NIfTI's order, the first axis fastest."""
    for start, stop in slabs(image.grid.shape):
        stream.write(encoded(image.data[..., start:stop], dtype, str(path)).tobytes(order="F"))


def _incomplete(file: NiftiFile, expected: int, found: int) -> DataError:
    return DataError(
        f"{file.path}: expected {expected} bytes of voxels, found {found}; the file is incomplete, copy it again"
    )
