"""Transforms from files of any kind: `.nephi`, and all that nephi.io reads."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from nephi.errors import DataError
from nephi.fields import FieldStep, read_nephi
from nephi.geometry import Grid
from nephi.images import LABEL_INTERPOLATIONS, Image, warn_of_units
from nephi.io import FieldConvention, read_displacement, read_foreign_transform
from nephi.transforms import DisplacementField, Transform, invert


def read_transform(path: str | Path, convention: FieldConvention | None = None) -> Transform:
    """Read a transform (fixed to moving points, world mm, RAS) of nephi or of another tool.

    `.nephi`; fields of ITK, ANTs, greedy, elastix, Slicer, SPM and NiftyReg (`.nii`, `.nii.gz`, `.hdr`, `.img`, `.mha`,
    `.mhd`, `.nrrd`, `.nhdr`); affine maps, fields, B-splines and chains of these of ITK (`.h5`, `.tfm`, `.txt`, `.mat`,
    `.xfm`); elastix' `TransformParameters.*.txt`; FreeSurfer's `.lta`. `convention` names what the file does not state:
    the vectors of a field, or the tool of a matrix in text (FLIRT, greedy, NiftyReg). Other files do not need it.

    Raises `DataError` naming the file when it is missing, damaged, or no transform.
    """
    if _is_nephi(path):
        return read_nephi(path).transform
    return read_foreign_transform(path, convention)


def read_inverse(path: str | Path, convention: FieldConvention | None = None) -> Transform:
    """Read the inverse (moving to fixed points, world mm, RAS) of what `read_transform` reads.

    Exact for affine maps, to 0.001 mm for others: a `.nephi`'s trained inverse polished, else by Newton's method.
    """
    if _is_nephi(path):
        return read_nephi(path).inverse
    return invert(read_foreign_transform(path, convention))


def read_trained_inverse(path: str | Path) -> Transform | None:
    """Return the inverse of a `.nephi` as it was fitted, not polished; None for other files, and where none was."""
    return read_nephi(path).trained_inverse if _is_nephi(path) else None


def read_exported_fields(path: str | Path) -> tuple[DisplacementField, DisplacementField] | None:
    """Return the displacement fields that `register` wrote beside a `.nephi` file, or None where they are missing."""
    forward, backward = (Path(path).parent / name for name in ("warp.nii.gz", "inverse_warp.nii.gz"))
    if not (_is_nephi(path) and forward.is_file() and backward.is_file()):
        return None
    return read_displacement(forward), read_displacement(backward)


def transform_grid(path: str | Path, convention: FieldConvention | None = None) -> Grid | None:
    """Return the fixed grid a transform file knows of: a `.nephi`'s, or the field's own; None for an affine."""
    if _is_nephi(path):
        return read_nephi(path).fixed_grid
    transform = read_foreign_transform(path, convention)
    return transform.grid if isinstance(transform, DisplacementField) else None


def describe_transform(path: str | Path) -> dict[str, Any]:
    """Return what a `.nephi` file says about itself: grids, seed, versions, settings, number of parameters.

    `steps` names what acts before the affine part, in that order: `fields` or a `displacement`.
    """
    stored = read_nephi(path)
    return {
        **stored.about,
        "fixed_grid": stored.fixed_grid,
        "moving_grid": stored.moving_grid,
        "affine": stored.affine.matrix,
        "steps": ["fields" if isinstance(step, FieldStep) else "displacement" for step in stored.steps],
        "parameters": sum(step.parameters for step in stored.steps),
        "settings": stored.settings,
    }


def outside_value(path: str | Path, interpolation: str = "linear", image: Image | None = None) -> float:
    """Return the value of voxels from outside an image that is warped by the transform in a file.

    0 with the interpolations for labels, `label` and `nearest`. With the others the one a `.nephi` stores, in the
    units of the images it was made from (`image.outside` of its settings: -1024 of the CT presets); 0 for other files.
    A `DataWarning` says when that value is far from all voxels of `image`, the one to be warped.

    Raises `DataError` for a `.nephi` that cannot be read, or that stores no finite number.
    """
    if interpolation in LABEL_INTERPOLATIONS or not _is_nephi(path):
        return 0.0
    table = read_nephi(path).settings.get("image", {})
    value = table.get("outside", 0.0) if isinstance(table, dict) else table
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{path}: expected a finite number as image.outside of its settings, found {value!r}")
    if image is not None:
        warn_of_units(image, float(value))
    return float(value)


def _is_nephi(path: str | Path) -> bool:
    return Path(path).suffix.lower() == ".nephi"
