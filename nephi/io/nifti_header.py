"""What a NIfTI header says, and the headers nephi writes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.io.flat import flat_grid
from nephi.io.foreign import naming, reading, require_file
from nephi.io.frames import is_sheared
from nephi.io.voxels import Scaling

MILLIMETRES = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}


@dataclass(frozen=True, eq=False)
class NiftiFile:
    """Header of a NIfTI file: where the voxels are, how they are stored, and where they lie in the world."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    scaling: Scaling
    affine: NDArray[np.float64]
    unit: str
    intent: int
    intent_name: str
    intent_p1: float
    description: str
    time_step: float
    time_unit: str

    @property
    def grid(self) -> Grid:
        """Grid of the first three axes, or of the first two when the third has length 1.

        Raises `DataError` when a single slice is not axial: in 2-D, nephi's world is the x-y plane.
        """
        spatial = (*self.shape, 1, 1, 1)[:3]
        if spatial[2] > 1:
            return self.grid_3d
        return flat_grid(spatial[:2], torch.from_numpy(self.affine), self.path)

    @property
    def grid_3d(self) -> Grid:
        """Grid of the first three axes, whatever their lengths."""
        with naming(self.path):
            return Grid((*self.shape, 1, 1, 1)[:3], torch.from_numpy(self.affine))


def read_header(path: str | Path) -> NiftiFile:
    """Read the header of a `.nii` or `.nii.gz` file; the affine is in mm, sform before qform before pixdim.

    Raises `DataError` when the file is missing, damaged, no NIfTI-1 or NIfTI-2, or of complex or colour voxels.
    """
    import nibabel

    path = require_file(path)
    with reading(path, "a NIfTI file"):
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Image):
            raise DataError(f"{path}: expected a NIfTI image, found {type(image).__name__}; convert it to NIfTI")
        header = image.header
        voxels: Any = image.dataobj
        unit, time_unit = header.get_xyzt_units()
        affine = np.array(header.get_best_affine(), dtype=np.float64)
        affine[:3] *= MILLIMETRES[unit]
        found = NiftiFile(
            path=path,
            shape=tuple(int(n) for n in header.get_data_shape()),
            dtype=header.get_data_dtype(),
            offset=int(voxels.offset),
            scaling=Scaling(float(voxels.slope), float(voxels.inter)),
            affine=affine,
            unit=unit,
            intent=int(header["intent_code"]),
            intent_name=_text(header["intent_name"]),
            intent_p1=float(header["intent_p1"]),
            description=_text(header["descrip"]),
            time_step=float(header["pixdim"][4]),
            time_unit=time_unit,
        )
    if found.dtype.kind not in "iuf":
        kind = "complex" if found.dtype.kind == "c" else "colour"
        raise DataError(f"{path}: expected one real number a voxel, found {kind} voxels; extract one channel first")
    return found


def _text(field: Any) -> str:
    """Return a fixed-length text field of a header up to its first zero byte."""
    return bytes(field).split(b"\0")[0].decode("latin-1").strip()


def header_bytes(
    path: str | Path,
    grid: Grid,
    dtype: np.dtype[Any],
    extra: tuple[int, ...] = (),
    intent: int = 0,
    time: tuple[float, str] = (0.0, "unknown"),
) -> bytes:
    """Return the 352 bytes in front of the voxels: the grid's axes, then axes of the lengths `extra`.

    sform has code 1, and so has an equal qform, except for a sheared grid, which no qform can hold: code 0.
    Units are mm. A 2-D grid lies in the plane z = 0. Raises `DataError` naming `path` when an axis is too long.
    """
    import nibabel

    shape = (*grid.shape, *(1,) * (3 - grid.dimension if extra else 0), *extra)
    if max(shape) > 32767:
        raise DataError(f"{path}: NIfTI-1 holds at most 32767 voxels an axis, found {shape}; write .mha or .nrrd")
    d = grid.dimension
    affine = np.eye(4)
    affine[:d, :d] = grid.affine[:d, :d].numpy()
    affine[:d, 3] = grid.affine[:d, d].numpy()
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_intent(intent)
    header.set_qform(affine, code=0 if is_sheared(grid) else 1)
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm", time[1])
    if len(shape) > 3:
        header["pixdim"][4] = time[0] or 1.0
    block = io.BytesIO()
    header.write_to(block)
    return block.getvalue()
