"""Write NIfTI files: the header of a grid, and voxels slab by slab, without a second copy in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.geometry.frames import is_sheared
from nephi.images import Image
from nephi.images.encoding import encode_voxels, file_type
from nephi.images.voxels import slabs
from nephi.io.files.atomic import replacing
from nephi.io.files.gzipped import open_output
from nephi.io.nifti.layout import SPACE_UNITS, TIME_UNITS, new_header, set_position

NO_EXTENSIONS = bytes(4)  # after the header
UNIT_CODES = {name: code for codes in (TIME_UNITS, SPACE_UNITS) for code, name in codes.items()}


def header_bytes(
    path: str | Path,
    grid: Grid,
    dtype: np.dtype[Any],
    extra: tuple[int, ...] = (),
    intent: int = 0,
    time: tuple[float, str] = (0.0, "unknown"),
) -> bytes:
    """Return the 352 bytes before the voxels, for an array with the axes of `grid`, then axes of the lengths `extra`.

    sform and qform have code 1; for a sheared grid, which a qform cannot represent, the qform has code 0. Units are mm.
    A 2-D grid has the height of its plane (0 without a plane), and a third axis if its file had one.

    Raises `DataError` naming `path` when an axis is too long.
    """
    space = grid.in_space()
    flat = grid.dimension == 2 and not extra and (grid.plane is None or grid.plane.step is None)
    shape = grid.shape if flat else (*space.shape, *extra)
    if max(shape) > 32767:
        raise DataError(
            f"{path}: expected at most 32767 voxels per axis for NIfTI-1, found {shape}; write .mha or .nrrd"
        )
    header = new_header(shape, dtype)
    set_position(header, space.affine.numpy(), qform_code=0 if is_sheared(grid) else 1)
    header["intent_code"] = intent
    header["xyzt_units"] = UNIT_CODES["mm"] + UNIT_CODES[time[1]]
    if len(shape) > 3:
        header["pixdim"][4] = time[0] or 1.0
    return header.tobytes() + NO_EXTENSIONS


def write_nifti(image: Image, path: Path) -> None:
    """Write an image to a `.nii` or `.nii.gz` file, slab by slab, in `image.voxel_type`."""
    with slab_writer(path, image.grid, image.voxel_type) as append:
        for start, stop in slabs(image.grid.shape):
            append(image.data[..., start:stop])


@contextmanager
def slab_writer(path: str | Path, grid: Grid, voxel_type: str) -> Iterator[Callable[[Tensor], None]]:
    """Yield a function that appends slabs of the last axis, in order, to a `.nii` or `.nii.gz` file.

    For volumes that are computed slab by slab and never in memory as a whole. The file is put in place when the block
    ends without an error. Raises `UsageError` if slices are missing then, `DataError` if the file cannot be written.
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
            raise UsageError(f"{path}: expected {grid.shape[-1]} slices, got {written}")


def write_block(stream: BinaryIO, image: Image, dtype: np.dtype[np.generic], path: Path) -> None:
    """Append the voxels of an image to the stream of the file `path`, the first axis fastest."""
    for start, stop in slabs(image.grid.shape):
        stream.write(encode_voxels(image.data[..., start:stop], dtype, str(path)).tobytes(order="F"))
