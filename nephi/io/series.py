"""Read and write series of volumes over time (4-D NIfTI) with one volume in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nephi.argument_types import checked
from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.images.encoding import file_type
from nephi.images.voxels import Array, slab_to_tensor
from nephi.io.files.atomic import replacing
from nephi.io.files.gzipped import open_output
from nephi.io.files.input_files import NIFTI_SUFFIXES, prefix_errors, reading, suffix_of
from nephi.io.images import read_image
from nephi.io.nifti.image import image_of_file, read_volume_header
from nephi.io.nifti.writer import header_bytes, write_block
from nephi.io.stored_volume import StoredVolume, verify_checksum


@dataclass(frozen=True, eq=False)
class Series:
    """Volumes on one grid. Each iteration reads the file from its start, one volume at a time.

    `time_step` is the time between volumes in `time_unit` (`sec`, `msec`, ..., `unknown`), 0 if not stated.
    """

    name: str
    grid: Grid
    count: int
    time_step: float
    time_unit: str
    volumes: Callable[[], Iterator[Image]]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Image]:
        return self.volumes()


@checked
def read_series(path: str | Path) -> Series:
    """Open a 4-D NIfTI, Analyze or MGH file as a series; any other file that `read_image` reads has length 1.

    All volumes have one voxel type, which represents every value of the type in the file. Raises the errors of
    `read_image`; damaged voxels raise `DataError` during the iteration.
    """
    path = Path(path)
    file = read_volume_header(path)
    if file is None:
        image = read_image(path)
        return Series(str(path), image.grid, 1, 0.0, "unknown", lambda: iter([image]))
    file.require_scalars()
    if not file.is_series:
        image = image_of_file(file)
        return Series(str(path), image.grid, 1, 0.0, "unknown", lambda: iter([image]))
    file.require_length()
    return Series(str(path), file.grid, file.shape[3], file.time_step, file.time_unit, lambda: _volumes(file))


def _volumes(file: StoredVolume) -> Iterator[Image]:
    grid = file.grid
    with ExitStack() as stack:
        with reading(file.path, "a series"):
            stream = stack.enter_context(file.open_voxels())
        for index in range(file.shape[3]):
            with reading(file.path, "a series"):
                stored = file.read_block(stream, file.shape[:3])
                if index == file.shape[3] - 1:
                    verify_checksum(stream)
            yield _volume(file, grid, stored.reshape(grid.shape, order="F"), index)


def _volume(file: StoredVolume, grid: Grid, stored: Array, index: int) -> Image:
    name = f"{file.path}, volume {index}"
    with prefix_errors(name):
        data, stored_type = slab_to_tensor(stored, file.scaling)
    return Image(data, grid, stored_type=stored_type, name=name)


@checked
def write_series(path: str | Path, volumes: Iterable[Image], count: int, like: Series | None = None) -> None:
    """Write `count` volumes to one 4-D NIfTI file (3-D for one volume), each as soon as `volumes` yields it.

    The voxel type is that of the first volume; time step and unit are those of `like`. The file is put in place after
    the last volume.

    Raises `UsageError` when the path is not `.nii` or `.nii.gz` or the number of volumes is not `count`, and
    `DataError` when a volume is not on the grid of the first or the file cannot be written.
    """
    path = Path(path)
    if suffix_of(path) not in NIFTI_SUFFIXES:
        raise UsageError(
            f"{path}: expected a series to be written as .nii or .nii.gz, got {suffix_of(path) or 'no suffix'}"
        )
    if count < 1:
        raise UsageError(f"{path}: expected a series of at least one volume, got {count}")
    time = (like.time_step, like.time_unit) if like else (0.0, "unknown")
    with replacing(path) as temporary, open_output(temporary) as stream:
        written = 0
        for volume in volumes:
            if written == 0:
                first, dtype = volume.grid, file_type(volume.voxel_type)
                extra = (count,) if count > 1 else ()
                stream.write(header_bytes(path, first, dtype, extra, time=time))
            if not volume.grid.same_as(first):
                raise DataError(f"{volume.name}: expected the grid of the first volume of {path}, found another")
            if written == count:
                raise UsageError(f"{path}: expected {count} volumes, got more")
            write_block(stream, volume, dtype, path)
            written += 1
        if written != count:
            raise UsageError(f"{path}: expected {count} volumes, got {written}")
