"""Read transforms, and facts about them, from `.nephi` files and from those of other tools."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from nephi.argument_types import checked
from nephi.errors import DataError
from nephi.fields import FieldStep, read_nephi
from nephi.geometry import Grid
from nephi.images import LABEL_INTERPOLATIONS, Image, warn_of_units
from nephi.io import FieldConvention, read_displacement, read_foreign_transform
from nephi.transforms import DisplacementField, Transform, invert


@checked
def read_transform(path: str | Path, convention: FieldConvention | None = None) -> Transform:
    """Read a transform (fixed to moving points, world mm, RAS) of nephi or of another tool.

    `.nephi`; fields of ITK, ANTs, greedy, elastix, Slicer, SPM and NiftyReg (`.nii`, `.nii.gz`, `.hdr`, `.img`, `.mha`,
    `.mhd`, `.nrrd`, `.nhdr`); affine maps, fields, B-splines and chains of these of ITK (`.h5`, `.tfm`, `.txt`, `.mat`,
    `.xfm`); elastix' `TransformParameters.*.txt`; FreeSurfer's `.lta`. `convention` states what some files leave open:
    the kind of vectors of a field, or the tool of a matrix in text (FLIRT, greedy, NiftyReg).

    Raises `DataError` naming the file if it is missing, damaged, or not a transform.
    """
    if _is_nephi(path):
        return read_nephi(path).transform
    return read_foreign_transform(path, convention)


@checked
def read_inverse(path: str | Path, convention: FieldConvention | None = None) -> Transform:
    """Read a transform as `read_transform`, and return its inverse (moving to fixed points, world mm, RAS).

    Exact for affine maps, to 0.001 mm for others: by Newton's method, from the unrefined inverse of a `.nephi` file.
    """
    if _is_nephi(path):
        return read_nephi(path).inverse
    return invert(read_foreign_transform(path, convention))


@checked
def read_unrefined_inverse(path: str | Path) -> Transform | None:
    """Return the unrefined inverse of a `.nephi` file, fitted or predicted; None for files without one."""
    return read_nephi(path).unrefined_inverse if _is_nephi(path) else None


def read_exported_fields(path: str | Path) -> tuple[DisplacementField, DisplacementField] | None:
    """Read the fields (forward, inverse) that `register` wrote to the folder of a `.nephi` file; None without them."""
    forward, inverse = (Path(path).parent / name for name in ("warp.nii.gz", "inverse_warp.nii.gz"))
    if not (_is_nephi(path) and forward.is_file() and inverse.is_file()):
        return None
    return read_displacement(forward), read_displacement(inverse)


def transform_grid(path: str | Path, convention: FieldConvention | None = None) -> Grid | None:
    """Return the fixed grid of a `.nephi` file, or the grid of a displacement field; None for other transforms."""
    if _is_nephi(path):
        return read_nephi(path).fixed_grid
    transform = read_foreign_transform(path, convention)
    return transform.grid if isinstance(transform, DisplacementField) else None


def describe_transform(path: str | Path) -> dict[str, Any]:
    """Return the facts in a `.nephi` file: grids, affine part, seed, versions, settings, number of parameters.

    `steps` lists the kinds of the transforms before the affine part (a key of `nephi.fields.STEPS`), in order;
    `inverse_steps` those of a predicted inverse with maps of its own. `interpolations` are those of the latent grids in
    the fields (`field.interpolation`). `has_inverse` is whether an inverse was fitted,
    predicted or computed in closed form, rather than solved alone.
    """
    stored = read_nephi(path)
    fields = [step for step in (*stored.steps, *stored.inverse_steps) if isinstance(step, FieldStep)]
    return {
        **stored.about,
        "fixed_grid": stored.fixed_grid,
        "moving_grid": stored.moving_grid,
        "affine": stored.affine.matrix,
        "steps": [step.kind for step in stored.steps],
        "inverse_steps": [step.kind for step in stored.inverse_steps],
        "interpolations": list(dict.fromkeys(step.interpolation for step in fields if step.interpolation)),
        "has_inverse": not stored.steps or stored.unrefined_inverse is not None,
        "parameters": sum(step.parameters for step in (*stored.steps, *stored.inverse_steps)),
        "settings": stored.settings,
    }


def outside_value(path: str | Path, interpolation: str = "linear", image: Image | None = None) -> float:
    """Return the value of voxels outside an image that is warped by the transform in a file.

    0 with the interpolations for labels, `label` and `nearest`, and for files other than `.nephi`. Else `image.outside`
    of the settings in the file (-1024 of the CT presets), in the units of the registered images. Issues a `DataWarning`
    if this value is far from all voxels of `image`, the image to be warped.

    Raises `DataError` for a `.nephi` file that cannot be read, or whose value is not a finite number.
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
