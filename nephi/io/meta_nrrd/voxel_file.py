"""Header of a MetaImage or NRRD file. Read without ITK, whose libraries do not verify headers and checksums."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.geometry.frames import flip_matrix
from nephi.images.voxels import Array
from nephi.io.files.input_files import prefix_errors
from nephi.io.meta_nrrd.voxel_data import VoxelData


@dataclass(frozen=True, eq=False)
class VoxelFile:
    """Header of a MetaImage or NRRD file.

    `shape` is the number of voxels along the D spatial axes, of each of the `volumes` of a series. Each voxel has
    `channels` numbers of type `dtype`; they are axis `channel_axis` of the stored array, counted from the fastest.
    The columns of `steps` `(D, D)` are the steps between voxels along each axis, and `origin` `(D,)` is the centre of
    the first voxel, both in LPS mm, as in ITK.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    steps: NDArray[np.float64]
    origin: NDArray[np.float64]
    data: VoxelData
    channels: int = 1
    channel_axis: int = 0
    volumes: int = 1

    @property
    def grid(self) -> Grid:
        """Grid of the voxels in RAS mm; raise `DataError` naming the file when voxels have no volume."""
        d = len(self.shape)
        affine = np.eye(d + 1)
        affine[:d, :d], affine[:d, d] = self.steps, self.origin
        with prefix_errors(self.path):
            return Grid(self.shape, flip_matrix(d) @ torch.from_numpy(affine))

    def require_one_volume(self) -> None:
        """Raise `DataError` naming the file when it is a series of volumes."""
        if self.volumes > 1:
            raise DataError(
                f"{self.path}: expected one 2-D or 3-D volume, found a 4-D series of {self.volumes} volumes; "
                "pick one, or save it as NIfTI"
            )

    def read(self) -> Array:
        """Read the voxels `([z, ]y, x[, channels])` in the byte order of the file.

        Raises `DataError` naming the file when data is missing or damaged, or when it is a series of volumes.
        """
        self.require_one_volume()
        stored = self.data.read(self.dtype, self.channels * int(np.prod(self.shape, dtype=np.int64)))
        if self.channels == 1:
            return stored.reshape(self.shape[::-1])
        axes = [*self.shape]
        axes.insert(self.channel_axis, self.channels)
        return np.ascontiguousarray(np.moveaxis(stored.reshape(axes[::-1]), len(axes) - 1 - self.channel_axis, -1))


def require_spatial(path: Path, shape: tuple[int, ...]) -> None:
    """Raise `DataError` naming the file unless `shape` is that of a 2-D or 3-D volume."""
    if len(shape) not in (2, 3):
        raise DataError(f"{path}: expected a 2-D or 3-D volume, found a {len(shape)}-D image; save it as NIfTI")
