"""Composite transforms of ITK (`.h5`, `.tfm`), written with SimpleITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.io.fields.conventions import vector_codec
from nephi.io.fields.displacement_writer import require_slab, round_in_place, rounding_step
from nephi.io.files.atomic import replacing
from nephi.io.files.input_files import suffix_of
from nephi.io.files.utf8_paths import writable_path
from nephi.io.frames import require_perpendicular
from nephi.io.itk import itk_writing, set_geometry, simpleitk
from nephi.io.transforms.itk_affine import affine_for_itk
from nephi.io.transforms.itk_transform import HDF5_SUFFIXES, TEXT_SUFFIXES
from nephi.transforms import AffineTransform, Transform, displacement_slabs

COMPOSITE_SUFFIXES = (*HDF5_SUFFIXES, *TEXT_SUFFIXES)


def write_composite(path: str | Path, transform: Transform, grid: Grid) -> None:
    """Write an ITK composite transform (LPS, mm): an affine map as such, anything else as a field on `grid`.

    SimpleITK, ANTs and 3-D Slicer read it. ITK holds the field in float64: 24 bytes a voxel of memory, more in text.

    Raises `UsageError` for a suffix other than `.h5`, `.hdf5`, `.tfm`, `.txt`; `DataError` for a sheared grid, a
    displacement that is not finite, or a file that cannot be written.
    """
    sitk = simpleitk()
    path = Path(path)
    if suffix_of(path) not in COMPOSITE_SUFFIXES:
        found = suffix_of(path) or "without suffix"
        raise UsageError(f"{path}: composite transforms are written as {', '.join(COMPOSITE_SUFFIXES)}, not {found}")
    member = affine_for_itk(transform) if isinstance(transform, AffineTransform) else _field(path, transform, grid)
    foreign = sitk.CompositeTransform(transform.dimension)
    foreign.AddTransform(member)
    with replacing(path) as temporary, writable_path(temporary) as utf8, itk_writing(path):
        sitk.WriteTransform(foreign, str(utf8))


@torch.no_grad()
def _field(path: Path, transform: Transform, grid: Grid) -> Any:
    sitk = simpleitk()
    require_perpendicular(grid, path, "a displacement field")
    codec, quantum = vector_codec("itk", grid), rounding_step(grid)
    vectors = np.empty((*reversed(grid.shape), grid.dimension), np.float64)
    order = (*reversed(range(grid.dimension)), grid.dimension)
    for start, stop, displacement in displacement_slabs(transform, grid):
        require_slab(path, grid, start, stop, displacement)
        lps = codec.encode(displacement.cpu(), grid, start, stop)
        vectors[start:stop] = round_in_place(lps, quantum).permute(*order).numpy()
    image = sitk.GetImageFromArray(vectors, isVector=True)
    del vectors
    set_geometry(image, grid)
    return sitk.DisplacementFieldTransform(image)  # takes the image over, without a copy
