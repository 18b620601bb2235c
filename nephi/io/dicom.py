"""A folder that holds one DICOM series."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io.flat import flat_grid
from nephi.io.foreign import naming, reading
from nephi.io.frames import flip_matrix
from nephi.io.itk import image_of, itk_warnings, simpleitk

POSITION = "0020|0032"  # ImagePositionPatient
PIXEL_DATA = b"\xe0\x7f\x10\x00"  # the tag in a file of either little-endian syntax
EVENNESS = 0.1  # largest deviation of a slice, as a fraction of the slice distance; a missing slice makes 0.5 or more


def read_dicom(folder: Path) -> Image:
    """Read the one series in `folder`, in the values its rescale slope and intercept give (HU for CT).

    The third axis of the grid is the way from slice to slice, so that a tilted gantry comes out as the shear it is.

    Raises `DataError` when the folder holds no series or several (with their UIDs), a file is damaged, or slices
    are missing, unevenly spaced or at one position.
    """
    sitk = simpleitk()
    with reading(folder, "a folder of DICOM files"), itk_warnings():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        files = {uid: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid) for uid in series}
    if len(files) != 1:
        found = "; ".join(f"{uid}: {len(names)} files" for uid, names in files.items()) or "none"
        raise DataError(
            f"{folder}: expected a folder with one DICOM series, found {len(files) or 'none'}"
            + (f" ({found}); move each series into its own folder" if files else "; give the folder of the slices")
        )
    (names,) = files.values()
    _require_none_damaged(folder, set(names))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    reader.MetaDataDictionaryArrayUpdateOn()
    with reading(folder, "a DICOM series"), itk_warnings():
        foreign = reader.Execute()
        positions = _positions(reader, len(names))
    image = image_of(foreign, folder)
    if positions is not None and len(positions) == image.grid.shape[-1] > 1:
        return image.with_grid(_grid_through(positions, image.grid, folder))
    if image.dimension == 3 and image.grid.shape[2] == 1:  # a radiograph, for example
        return replace(image, data=image.data[..., 0], grid=flat_grid(image.grid.shape[:2], image.grid.affine, folder))
    return image


def _require_none_damaged(folder: Path, used: set[str]) -> None:
    """Raise `DataError` for a file with pixels that GDCM passed over: a cut first or last slice leaves no gap."""
    for file in sorted(folder.iterdir()):
        if str(file) in used or not file.is_file() or file.name.upper() == "DICOMDIR":
            continue
        with reading(file, "a file that can be read"), open(file, "rb") as stream:
            damaged = stream.read(132).endswith(b"DICM") and PIXEL_DATA in stream.read()
        if damaged:
            raise DataError(f"{file}: expected a whole DICOM slice, could not read it; the file may be incomplete")


def _positions(reader: Any, count: int) -> NDArray[np.float64] | None:
    """Return the LPS position `(n, 3)` of each slice's first voxel, or None where a file does not tell."""
    if not all(reader.HasMetaDataKey(i, POSITION) for i in range(count)):
        return None
    return np.array([[float(x) for x in reader.GetMetaData(i, POSITION).split("\\")] for i in range(count)])


def _grid_through(positions: NDArray[np.float64], grid: Grid, folder: Path) -> Grid:
    """Return `grid` with its third axis along the slices, which have to be evenly spaced."""
    count = len(positions)
    step = (positions[-1] - positions[0]) / (count - 1)
    distance = float(np.linalg.norm(step))
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    away = np.linalg.norm(positions - (positions[0] + np.arange(count)[:, None] * step), axis=1)
    if distance == 0 or away.max() > EVENNESS * distance:
        raise DataError(
            f"{folder}: expected evenly spaced slices, found distances from {gaps.min():.3f} to {gaps.max():.3f} mm "
            f"between the {count} files; slices may be missing, or several volumes may share the folder"
        )
    affine = grid.affine.clone()
    affine[:3, 2] = flip_matrix(3)[:3, :3] @ torch.from_numpy(step)
    affine[:3, 3] = flip_matrix(3)[:3, :3] @ torch.from_numpy(positions[0])
    with naming(folder):
        return Grid(grid.shape, affine)
