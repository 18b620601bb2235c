"""Write transforms of ITK with SimpleITK: affine maps, and composites of an affine map or a displacement field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nephi.argument_types import checked
from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.geometry.frames import flip_matrix, require_perpendicular
from nephi.io.fields.conventions import vector_codec
from nephi.io.fields.displacement_writer import require_slab, round_in_place, rounding_step
from nephi.io.files.atomic import replacing
from nephi.io.files.input_files import HDF5_SUFFIXES, TEXT_SUFFIXES, suffix_of
from nephi.io.files.utf8_paths import writable_path
from nephi.io.itk import itk_writing, set_geometry, simpleitk
from nephi.transforms import AffineTransform, Transform, displacement_slabs

AFFINE_SUFFIXES = (*TEXT_SUFFIXES, ".mat", *HDF5_SUFFIXES)
COMPOSITE_SUFFIXES = (*HDF5_SUFFIXES, *TEXT_SUFFIXES)


@checked
def write_affine(path: str | Path, affine: AffineTransform) -> None:
    """Write an affine map as an ITK transform in LPS with centre 0: `.tfm`, `.txt`, `.mat` or `.h5`.

    ANTs, SimpleITK and 3-D Slicer read it.

    Raises `UsageError` for another suffix, `DataError` when the file cannot be written.
    """
    sitk = simpleitk()
    path = Path(path)
    if suffix_of(path) not in AFFINE_SUFFIXES:
        found = suffix_of(path) or "no suffix"
        allowed = ", ".join(AFFINE_SUFFIXES)
        raise UsageError(f"{path}: expected an affine transform to be written as {allowed}, got {found}")
    itk_transform = _itk_affine(affine)
    with replacing(path) as temporary, writable_path(temporary) as utf8, itk_writing(path):
        sitk.WriteTransform(itk_transform, str(utf8))


def write_composite(path: str | Path, transform: Transform, grid: Grid) -> None:
    """Write an ITK composite transform (LPS mm): an affine map as a matrix, any other transform as a field on `grid`.

    SimpleITK, ANTs and 3-D Slicer read it. ITK stores the field in float64: 24 bytes per voxel in memory, more in text.

    Raises `UsageError` for a suffix other than `.h5`, `.hdf5`, `.tfm`, `.txt`; `DataError` for a sheared grid, a
    displacement that is not finite, or a file that cannot be written.
    """
    sitk = simpleitk()
    path = Path(path)
    if suffix_of(path) not in COMPOSITE_SUFFIXES:
        found = suffix_of(path) or "no suffix"
        allowed = ", ".join(COMPOSITE_SUFFIXES)
        raise UsageError(f"{path}: expected a composite transform to be written as {allowed}, got {found}")
    member = _itk_affine(transform) if isinstance(transform, AffineTransform) else _itk_field(path, transform, grid)
    composite = sitk.CompositeTransform(transform.dimension)
    composite.AddTransform(member)
    with replacing(path) as temporary, writable_path(temporary) as utf8, itk_writing(path):
        sitk.WriteTransform(composite, str(utf8))


@torch.no_grad()
def _itk_field(path: Path, transform: Transform, grid: Grid) -> Any:
    """Return SimpleITK's displacement field transform (LPS mm) of a transform, sampled on `grid`."""
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
    return sitk.DisplacementFieldTransform(image)  # takes ownership of the image, without a copy


def _itk_affine(affine: AffineTransform) -> Any:
    """Return SimpleITK's affine transform (LPS mm, centre 0) of an affine map."""
    sitk = simpleitk()
    d = affine.dimension
    lps = flip_matrix(d) @ affine.matrix @ flip_matrix(d)
    itk_transform = sitk.AffineTransform(d)
    itk_transform.SetMatrix(lps[:d, :d].reshape(-1).tolist())
    itk_transform.SetTranslation(lps[:d, d].tolist())
    return itk_transform
