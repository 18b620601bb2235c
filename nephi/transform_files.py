"""Transforms from files of any kind: `.nephi`, displacement fields, ITK affine files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nephi.fields import read_nephi
from nephi.geometry import Grid
from nephi.io import read_displacement, read_foreign_transform
from nephi.transforms import DisplacementField, Transform, invert


def read_transform(path: str | Path) -> Transform:
    """Read a transform (fixed to moving points, world mm, RAS) from `.nephi`, an ITK displacement field, or an affine.

    Raises `DataError` naming the file when it is missing, damaged, or no transform.
    """
    if _is_nephi(path):
        return read_nephi(path).transform
    return read_foreign_transform(path)


def read_inverse(path: str | Path) -> Transform:
    """Read the inverse (moving to fixed points): the trained one of a `.nephi`, exact for affine, else by Newton."""
    if _is_nephi(path):
        return read_nephi(path).inverse
    return invert(read_foreign_transform(path))


def exported_pair(path: str | Path) -> tuple[DisplacementField, DisplacementField] | None:
    """Return the displacement fields that `register` wrote beside a `.nephi` file, or None where they are missing."""
    forward, backward = (Path(path).parent / name for name in ("warp.nii.gz", "inverse_warp.nii.gz"))
    if not (_is_nephi(path) and forward.is_file() and backward.is_file()):
        return None
    return read_displacement(forward), read_displacement(backward)


def transform_grid(path: str | Path) -> Grid | None:
    """Return the fixed grid a transform file knows of: a `.nephi`'s, or the field's own; None for an affine."""
    if _is_nephi(path):
        return read_nephi(path).fixed_grid
    transform = read_foreign_transform(path)
    return transform.grid if isinstance(transform, DisplacementField) else None


def describe_transform(path: str | Path) -> dict[str, Any]:
    """Return what a `.nephi` file says about itself: grids, seed, versions, settings, number of parameters."""
    stored = read_nephi(path)
    parameters = 0 if stored.pair is None else sum(p.numel() for p in stored.pair.parameters())
    return {
        **stored.about,
        "fixed_grid": stored.fixed_grid,
        "moving_grid": stored.moving_grid,
        "affine": stored.affine.matrix,
        "parameters": parameters,
        "settings": stored.settings,
    }


def _is_nephi(path: str | Path) -> bool:
    return Path(path).suffix.lower() == ".nephi"
