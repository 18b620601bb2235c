"""Header of a voxel file: position and storage of the voxels in the file, and their grid in the world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.geometry.flat import flat_grid
from nephi.images.voxels import Array, Scaling
from nephi.io.files.gzipped import Content
from nephi.io.files.input_files import prefix_errors

CHUNK = 2**22  # bytes per read; gzip's readinto makes a copy of this size


@dataclass(frozen=True, eq=False)
class StoredVolume:
    """Header of a file: `shape` voxels of type `dtype` start `offset` bytes into `content`, the first axis fastest.

    `compute_affine` returns the 4x4 voxel-to-world matrix of the first three axes (RAS, mm), and warns if the header
    does not define it; `affine` is this matrix, computed at the first access. `time_step` is the time between volumes
    in `time_unit` (`sec`, `msec`, ..., `unknown`), 0 if not stated. Errors name `path`.
    """

    path: Path
    content: Content
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    scaling: Scaling
    compute_affine: Callable[[], NDArray[np.float64]]
    time_step: float
    time_unit: str

    @cached_property
    def affine(self) -> NDArray[np.float64]:
        """Voxel-to-world matrix, 4x4, of the first three axes (RAS, mm)."""
        return self.compute_affine()

    @property
    def grid(self) -> Grid:
        """Grid of the first three axes, or of the first two when the third has length 1.

        Raises `DataError` when a single slice is not axial: 2-D images are in the world's x-y plane.
        """
        spatial = (*self.shape, 1, 1, 1)[:3]
        if spatial[2] > 1:
            return self.grid_3d
        return flat_grid(
            self.shape[:3] if len(self.shape) > 1 else spatial[:2], torch.from_numpy(self.affine), self.path
        )

    @property
    def grid_3d(self) -> Grid:
        """Grid of the first three axes, whatever their lengths."""
        with prefix_errors(self.path):
            return Grid((*self.shape, 1, 1, 1)[:3], torch.from_numpy(self.affine))

    @property
    def is_series(self) -> bool:
        """Whether the fourth axis, and no further axis, is longer than 1."""
        return len(self.shape) > 3 and self.shape[3] > 1 and all(n == 1 for n in self.shape[4:])

    @property
    def end(self) -> int:
        """Number of bytes up to the end of the last voxel."""
        count = 1
        for n in self.shape:
            count *= n
        return self.offset + count * self.dtype.itemsize

    def require_scalars(self) -> None:
        """Raise `DataError` unless the voxels are real numbers."""
        if self.dtype.kind not in "iuf":
            kind = "complex" if self.dtype.kind == "c" else "colour"
            raise DataError(
                f"{self.path}: expected one real number per voxel, found {kind} voxels; extract one channel first"
            )

    def require_one_volume(self) -> None:
        """Raise `DataError` unless all axes beyond the third have length 1."""
        extra = self.shape[3:]
        if all(n == 1 for n in extra):
            return
        if all(n == 1 for n in extra[1:]):
            found, advice = f"a 4-D series of {extra[0]} volumes", "pick one, or use nephi apply for series"
        elif extra[0] == 1 and all(n == 1 for n in extra[2:]):
            found, advice = f"vectors of {extra[1]} components", "give an image, not a displacement field"
        else:
            found, advice = f"an array of shape {self.shape}", "extract one volume"
        raise DataError(f"{self.path}: expected one 2-D or 3-D volume, found {found}; {advice}")

    def require_length(self) -> None:
        """Raise `DataError` when the file is too short for its header, before memory is allocated."""
        if self.content.capacity < self.end:
            raise self.incomplete(self.end, self.content.capacity)

    def open_voxels(self) -> BinaryIO:
        """Open the file at its first voxel; raise `DataError` when it is too short for its header."""
        self.require_length()
        stream = self.content.open()
        stream.seek(self.offset)
        return stream

    def read_block(self, stream: BinaryIO, shape: tuple[int, ...]) -> Array:
        """Read the next voxels as an array of `shape`, as stored; raise `DataError` when the file ends early."""
        block: Array = np.empty(shape, self.dtype, order="F")
        target = block.reshape(-1, order="F").view(np.uint8).data
        filled = 0
        while filled < len(target):
            count = stream.readinto(target[filled : filled + CHUNK])  # type: ignore[attr-defined]
            if not count:
                raise self.incomplete(len(target), filled)
            filled += count
        return block

    def incomplete(self, expected: int, found: int) -> DataError:
        """Return the `DataError` for missing voxels."""
        location = "" if self.content.path == self.path else f" in {self.content.path}"
        at_most = "at most " if self.content.compressed and found == self.content.capacity else ""
        return DataError(
            f"{self.path}: expected {expected} bytes of voxels{location}, found {at_most}{found}; the file is "
            "incomplete, copy it again"
        )


def verify_checksum(stream: BinaryIO) -> None:
    """Read beyond the last voxel, where gzip verifies the checksum, and raises if the data is damaged."""
    stream.read(1)
