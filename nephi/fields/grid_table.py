"""Grids in the header of a `.nephi` file."""

from __future__ import annotations

from typing import Any

import torch

from nephi.errors import DataError
from nephi.geometry import Grid, Plane
from nephi.tables import short_repr


def grid_table(grid: Grid) -> dict[str, Any]:
    """Return a grid as plain values."""
    plane = {} if grid.plane is None else {"plane": [grid.plane.height, grid.plane.step]}
    return {"shape": list(grid.shape), "affine": grid.affine.tolist(), **plane}


def grid_of(table: dict[str, Any]) -> Grid:
    """Return the grid of a table; only slices have the key `plane`, which earlier readers ignore.

    Raises `DataError`, and other errors of `nephi.fields.UNFIT`, for values that are no grid.
    """
    plane = None
    if "plane" in table:
        height, step = table["plane"]
        plane = Plane(float(height), None if step is None else float(step))
    shape = table["shape"]
    if not all(type(n) is int for n in shape):
        raise DataError(f"expected a grid's shape of whole numbers, found {short_repr(shape)}")
    return Grid(tuple(shape), torch.tensor(table["affine"], dtype=torch.float64), plane)
