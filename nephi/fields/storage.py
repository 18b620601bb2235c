"""`.nephi` files: a stored transform as bytes, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.fields.grid_table import grid_of, grid_table
from nephi.fields.steps import FieldStep, Step, read_step, step_table
from nephi.fields.stored import StoredTransform
from nephi.fields.tensor_file import UNFIT, TensorFile
from nephi.geometry import Grid, require_cpu_by_default
from nephi.transforms import AffineTransform

LARGEST = 1e15  # of a stored number: its square is finite in float32

# Version 1: at most one pair of fields, over the fixed grid, as after a fit; version 2: any fields, displacements and
# affine maps, each field with its grid; version 3: any kind of step; version 4:
# fields interpolated by splines. A file has the lowest version that can hold it.
FILE = TensorFile("nephi-transform", (1, 2, 3, 4, 5), ".nephi transform", "nephi register")


def nephi_bytes(stored: StoredTransform) -> bytes:
    """Return the content of a `.nephi` file; equal transforms give equal bytes."""
    header: dict[str, Any] = {
        "fixed_grid": grid_table(stored.fixed_grid),
        "moving_grid": grid_table(stored.moving_grid),
        "settings": stored.settings,
        "about": stored.about,
    }
    tensors = {"affine": stored.affine.matrix.contiguous()}
    if _fits_version_1(stored):
        header["field"] = stored.steps[0].table()["field"] if stored.steps else None
        tensors |= {f"pair.{name}": value for step in stored.steps for name, value in step.tensors().items()}
        return FILE.to_bytes(header, tensors, 1)
    lists = {"steps": stored.steps}
    if stored.inverse_steps:
        lists["inverse_steps"] = stored.inverse_steps
    for name, steps in lists.items():
        header[name] = [step_table(step) for step in steps]
        for number, step in enumerate(steps):
            tensors |= {f"{name}.{number}.{key}": value for key, value in step.tensors().items()}
    version = max(step.file_version for step in (*stored.steps, *stored.inverse_steps))
    return FILE.to_bytes(header, tensors, version)


def _fits_version_1(stored: StoredTransform) -> bool:
    """Return whether version 1 can hold the transform: at most one pair of fields, over the fixed grid."""
    if not stored.steps:
        return not stored.inverse_steps
    (step, *others), fixed = stored.steps, stored.fixed_grid
    if others or stored.inverse_steps or not isinstance(step, FieldStep) or step.file_version > step.version:
        return False
    return step.grid.shape == fixed.shape and torch.equal(step.grid.affine, fixed.affine)


@torch.inference_mode(False)
def read_nephi(path: str | Path) -> StoredTransform:
    """Read a `.nephi` file.

    Raises `DataError` when the file is missing, cut short, of another format or a later version, when its tensors do
    not fit its settings, and when they hold values so large that points are mapped to NaN.
    """
    require_cpu_by_default()
    header, tensors = FILE.read(Path(path))
    FILE.require_finite(Path(path), tensors)
    try:
        _require_moderate(tensors)
        fixed_grid, moving_grid = grid_of(header["fixed_grid"]), grid_of(header["moving_grid"])
        affine = AffineTransform(tensors.pop("affine"))
        if not affine.dimension == fixed_grid.dimension == moving_grid.dimension:
            raise DataError("its affine and its grids differ in dimension")
        steps, inverse_steps = _read_all_steps(header, fixed_grid, tensors)
        if any(step.dimension != affine.dimension for step in (*steps, *inverse_steps)):
            raise DataError("its affine and a step differ in dimension")
        if tensors:
            raise DataError(f"Unexpected key {next(iter(tensors))}")
        tables = dict(header["settings"]), dict(header["about"])
        stored = StoredTransform(affine, fixed_grid, moving_grid, steps, *tables, inverse_steps)
        _require_finite_points(stored)
        return stored
    except UNFIT as error:
        raise FILE.damaged(path, error) from None


def _require_moderate(tensors: Mapping[str, Tensor]) -> None:
    """Raise `DataError` naming a tensor of numbers whose products would be infinite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel() and float(tensor.abs().max()) > LARGEST:
            raise DataError(f"{name} holds values beyond {LARGEST:g}")


@torch.no_grad()
def _require_finite_points(stored: StoredTransform) -> None:
    """Raise `DataError` for a transform, or an unrefined inverse, that maps corners or centre of its grid to NaN."""
    for name, transform, grid in (
        ("transform", stored.transform, stored.fixed_grid),
        ("inverse", stored.unrefined_inverse, stored.moving_grid),
    ):
        if transform is None:
            continue
        points = torch.cat([grid.corners_world(), grid.centre_world().unsqueeze(0)]).double()
        if not bool(torch.isfinite(transform(points)).all()):
            raise DataError(f"its {name} maps points of its grid to NaN or infinite values")


def _read_all_steps(
    header: dict[str, Any], fixed_grid: Grid, tensors: dict[str, Tensor]
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return the steps and the steps of the inverse, and remove their tensors from `tensors`."""
    if header["version"] > 1:
        tables = header["steps"], header.get("inverse_steps", [])
        return _read_steps("steps", tables[0], tensors), _read_steps("inverse_steps", tables[1], tensors)
    if header["field"] is None:
        return (), ()
    table = {"field": header["field"], "grid": grid_table(fixed_grid)}
    return (read_step(table, _pop_tensors(tensors, "pair.")),), ()


def _read_steps(name: str, tables: Sequence[dict[str, Any]], tensors: dict[str, Tensor]) -> tuple[Step, ...]:
    numbered = enumerate(tables)
    return tuple(read_step(table, _pop_tensors(tensors, f"{name}.{number}.")) for number, table in numbered)


def _pop_tensors(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Remove the tensors whose names start with `prefix`; return them by their names without it."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}
