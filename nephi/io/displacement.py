"""Displacement fields held in memory: files of NIfTI and of ITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.io.conventions import FieldConvention, vector_code
from nephi.io.foreign import ITK_SUFFIXES, NIFTI_SUFFIXES, naming, reading, suffix_of
from nephi.io.frames import flip_points, require_perpendicular
from nephi.io.gzipped import open_input
from nephi.io.itk import grid_of, place, read_itk, require_dimension, shared_voxels, simpleitk, write_itk
from nephi.io.nifti import check_end, read_block
from nephi.io.nifti_header import NiftiFile, read_header
from nephi.io.voxels import converted, slabs
from nephi.transforms import DisplacementField

VECTOR = 1007  # NIfTI intent: ITK takes the components as they are, in LPS
DISPVECT = 1006  # NIfTI intent: RAS components; ITK from 5.4 and 3-D Slicer turn them into LPS
FSL_FIELD = 2006
FSL_SPLINES = (2007, 2008, 2009)
NAME_IT = "name its convention: itk, slicer, learn2reg or fsl (--transform-format)"


def read_displacement(path: str | Path, convention: FieldConvention | None = None) -> DisplacementField:
    """Read `u(x)` of `phi(x) = x + u(x)` in world mm.

    NIfTI of shape `(X, Y, Z, 1, 3)` or `(X, Y, 1, 1, 2)` with intent 1007 (LPS components) or 1006 (RAS components);
    `.mha`, `.mhd`, `.nrrd`, `.nhdr` with a vector a voxel (LPS). Vectors are held as float32. A `convention`, when
    given, says what the vectors of a NIfTI file mean, whatever its header says; `(X, Y, Z, 3)` is allowed then.

    Raises `DataError` naming the file when it is missing or damaged, or when its shape, intent or unit does not say
    in which frame and unit the vectors are.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix in NIFTI_SUFFIXES:
        return _read_nifti_field(path, convention)
    if suffix in ITK_SUFFIXES:
        return field_of(read_itk(path, f"a displacement field in {suffix} format"), path)
    known = ", ".join(NIFTI_SUFFIXES + ITK_SUFFIXES)
    raise DataError(f"{path}: expected a displacement field ({known}), found {suffix or 'no suffix'}")


def _read_nifti_field(path: Path, named: FieldConvention | None) -> DisplacementField:
    file = read_header(path)
    convention = named or _told_by_header(file)
    grid = _field_grid(file, convention)
    components = file.shape[-1]
    # Channels last in memory, the order that lookups read in place; the file has one component after the other.
    field = np.empty((*reversed(grid.shape), components), np.float32)
    with reading(path, "a displacement field"), open_input(path) as stream:
        stream.seek(file.offset)
        for c in range(components):
            for start, stop in slabs(grid.shape):
                block = read_block(stream, file, (*grid.shape[:-1], stop - start))
                field[start:stop, ..., c] = converted(block, np.dtype("f4"), file.scaling).T
        check_end(stream)
    data = torch.from_numpy(field).permute(*reversed(range(grid.dimension)), grid.dimension)
    code = vector_code(convention.name, grid, convention.moving)
    for start, stop in grid.slabs():
        data[..., start:stop, :] = code.decode(data[..., start:stop, :], grid, start, stop)
    with naming(path):
        return DisplacementField(data, grid)


def _told_by_header(file: NiftiFile) -> FieldConvention:
    """Return the convention that shape, intent and unit tell; raise `DataError` when they do not."""
    shape = file.shape
    if file.intent == FSL_FIELD:
        raise DataError(
            f"{file.path}: expected a field that says all about itself, found FSL's, which depends on the moving "
            "image; give --transform-format fsl, and --transform-moving IMAGE unless it lies on the field's grid"
        )
    if file.intent in FSL_SPLINES:
        raise DataError(
            f"{file.path}: expected a displacement field, found FSL's spline coefficients; convert them with "
            "FSL's fnirtfileutils, and give --transform-format fsl"
        )
    if len(shape) != 5 or shape[3] != 1 or shape[4] not in (2, 3) or (shape[4] == 2 and shape[2] != 1):
        raise DataError(
            f"{file.path}: expected a displacement field of shape (X, Y, Z, 1, 3) or (X, Y, 1, 1, 2), found {shape}; "
            f"frame and unit of such vectors cannot be told: export the field again (nephi, ITK, ANTs), or {NAME_IT}"
        )
    if file.intent not in (VECTOR, DISPVECT):
        raise DataError(
            f"{file.path}: expected intent 1007 (LPS vectors) or 1006 (RAS vectors), found {file.intent}; the frame of "
            f"the vectors cannot be told: set the intent in the header, or {NAME_IT}"
        )
    if file.unit not in ("mm", "unknown"):
        raise DataError(f"{file.path}: expected a displacement field in mm, found the unit {file.unit}; convert it")
    return FieldConvention("slicer" if file.intent == DISPVECT else "itk")


def _field_grid(file: NiftiFile, convention: FieldConvention) -> Grid:
    """Return the grid a field lies on; raise `DataError` when its shape, or that of the images named, does not fit."""
    shape = file.shape
    flat = len(shape) == 5 and shape[2:] == (1, 1, 2)
    if not flat and not (len(shape) == 4 and shape[3] == 3) and not (len(shape) == 5 and shape[3:] == (1, 3)):
        raise DataError(
            f"{file.path}: expected a displacement field of shape (X, Y, Z, 3), (X, Y, Z, 1, 3) or (X, Y, 1, 1, 2), "
            f"found {shape}; give a field, or another --transform-format"
        )
    if flat and convention.name in ("learn2reg", "fsl"):
        raise DataError(f"{file.path}: expected a 3-D field, as {convention.name} fields are, found a 2-D one")
    own = file.grid if flat else file.grid_3d
    for grid, name in ((convention.fixed, "fixed"), (convention.moving, "moving")):
        if grid is not None and (grid.dimension != own.dimension or (name == "fixed" and grid.shape != own.shape)):
            raise DataError(
                f"{file.path}: expected a {name} image to match the field's {own.shape}, found {grid.shape}"
            )
    return convention.fixed or own


def field_of(foreign: Any, path: Path) -> DisplacementField:
    """Return a SimpleITK image of LPS vectors as a displacement field, sharing its memory if it is float32."""
    require_dimension(foreign, path)
    d, components = foreign.GetDimension(), foreign.GetNumberOfComponentsPerPixel()
    vectors = shared_voxels(foreign)
    if components != d or vectors.ndim != d + 1 or vectors.dtype.kind != "f":
        raise DataError(
            f"{path}: expected a displacement field with {d} real components a voxel, found {components} of type "
            f"{foreign.GetPixelIDTypeAsString()}"
        )
    field = vectors.astype(np.float32, copy=False)
    np.negative(field[..., :2], out=field[..., :2])
    data = torch.from_numpy(field).permute(*reversed(range(d)), d)
    with naming(path):
        return DisplacementField(data, grid_of(foreign, path))


def write_displacement_itk(path: str | Path, field: DisplacementField) -> None:
    """Write a field in memory as a `.mha`, `.mhd`, `.nrrd` or `.nhdr` image of float32 LPS vectors in mm.

    Raises `UsageError` for another suffix, `DataError` for a sheared grid or a file that cannot be written.
    """
    sitk = simpleitk()
    path = Path(path)
    if suffix_of(path) not in ITK_SUFFIXES:
        raise UsageError(f"{path}: expected one of {', '.join(ITK_SUFFIXES)}, got {suffix_of(path) or 'no suffix'}")
    require_perpendicular(field.grid, path, "a displacement field")
    vectors = flip_points(field.displacement.detach().float()).cpu()
    order = (*reversed(range(field.dimension)), field.dimension)
    foreign = sitk.GetImageFromArray(vectors.permute(order).contiguous().numpy(), isVector=True)
    place(foreign, field.grid)
    write_itk(foreign, path)
