"""`.nephi` files: a stored transform as bytes, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.fields.build import build_fields
from nephi.fields.settings import FieldSettings
from nephi.fields.steps import AffineStep, DisplacementStep, FieldStep, Step
from nephi.fields.stored import StoredTransform
from nephi.fields.tensor_file import UNFIT, TensorFile
from nephi.geometry import Grid, Plane, require_cpu_by_default
from nephi.tables import from_table, short_repr
from nephi.transforms import AffineTransform, ContinuedDisplacement

# Version 1: at most one pair of fields, over the fixed grid, as after a fit; version 2: any steps, each with its grid.
FILE = TensorFile("nephi-transform", (1, 2), ".nephi transform", "nephi register")
STORED_CODE, GLOBAL_CODE = ".codes.everywhere", ".codes.global_code"  # files keep the name of their first version
SHARED_CODES = "inverse_field.codes."  # those of the forward field, stored once


def nephi_bytes(stored: StoredTransform) -> bytes:
    """Return the content of a `.nephi` file; equal transforms give equal bytes."""
    header: dict[str, Any] = {
        "fixed_grid": _grid_table(stored.fixed_grid),
        "moving_grid": _grid_table(stored.moving_grid),
        "settings": stored.settings,
        "about": stored.about,
    }
    tensors = {"affine": stored.affine.matrix.contiguous()}
    if _fits_version_1(stored):
        field_settings = [asdict(step.settings) for step in stored.steps if isinstance(step, FieldStep)]
        header["field"] = field_settings[0] if field_settings else None
        tensors |= {f"pair.{name}": value for step in stored.steps for name, value in _step_tensors(step).items()}
        return FILE.to_bytes(header, tensors, 1)
    lists = {"steps": stored.steps}
    if stored.inverse_steps:
        lists["inverse_steps"] = stored.inverse_steps
    for name, steps in lists.items():
        header[name] = [_step_table(step) for step in steps]
        for number, step in enumerate(steps):
            tensors |= {f"{name}.{number}.{key}": value for key, value in _step_tensors(step).items()}
    return FILE.to_bytes(header, tensors, 2)


def _fits_version_1(stored: StoredTransform) -> bool:
    """Return whether version 1 can hold the transform: at most one pair of fields, over the fixed grid."""
    if not stored.steps:
        return not stored.inverse_steps
    (step, *others), fixed = stored.steps, stored.fixed_grid
    if others or stored.inverse_steps or not isinstance(step, FieldStep):
        return False
    return step.grid.shape == fixed.shape and torch.equal(step.grid.affine, fixed.affine)


def _step_table(step: Step) -> dict[str, Any]:
    if isinstance(step, AffineStep):
        return {"kind": step.kind}
    return {"grid": _grid_table(step.grid), "field": asdict(step.settings) if isinstance(step, FieldStep) else None}


def _step_tensors(step: Step) -> dict[str, Tensor]:
    if isinstance(step, AffineStep):
        # Copied, as safetensors refuses tensors that share memory.
        return {"matrix": step.affine.matrix.clone(memory_format=torch.contiguous_format)}
    if isinstance(step, DisplacementStep):
        return {"displacement": step.field.displacement.float().cpu().contiguous()}
    # Tables were rounded to half precision, see FieldPair.round_tables.
    return {
        name.replace(GLOBAL_CODE, STORED_CODE): (value.half() if name.endswith(".table") else value).cpu().contiguous()
        for name, value in step.pair.state_dict().items()
        if not name.startswith(SHARED_CODES)
    }


@torch.inference_mode(False)
def read_nephi(path: str | Path) -> StoredTransform:
    """Read a `.nephi` file.

    Raises `DataError` when the file is missing, cut short, of another format or a later version, or when its tensors do
    not fit its settings.
    """
    require_cpu_by_default()
    header, tensors = FILE.read(Path(path))
    FILE.require_finite(Path(path), tensors)
    try:
        fixed_grid, moving_grid = _grid(header["fixed_grid"]), _grid(header["moving_grid"])
        affine = AffineTransform(tensors.pop("affine"))
        if not affine.dimension == fixed_grid.dimension == moving_grid.dimension:
            raise DataError("its affine and its grids differ in dimension")
        steps, inverse_steps = _read_all_steps(header, fixed_grid, tensors)
        if any(step.dimension != affine.dimension for step in (*steps, *inverse_steps)):
            raise DataError("its affine and a step differ in dimension")
        if tensors:
            raise DataError(f"Unexpected key {next(iter(tensors))}")
        tables = dict(header["settings"]), dict(header["about"])
        return StoredTransform(affine, fixed_grid, moving_grid, steps, *tables, inverse_steps)
    except UNFIT as error:
        raise FILE.damaged(path, error) from None


def _read_all_steps(
    header: dict[str, Any], fixed_grid: Grid, tensors: dict[str, Tensor]
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return the steps and the steps of the inverse, and remove their tensors from `tensors`."""
    if header["version"] > 1:
        tables = header["steps"], header.get("inverse_steps", [])
        return _read_steps("steps", tables[0], tensors), _read_steps("inverse_steps", tables[1], tensors)
    if header["field"] is None:
        return (), ()
    state = _pop_tensors(tensors, "pair.")
    return (_read_field_step(from_table(FieldSettings, header["field"]), fixed_grid, state),), ()


def _read_steps(name: str, tables: Sequence[dict[str, Any]], tensors: dict[str, Tensor]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for number, table in enumerate(tables):
        step_tensors = _pop_tensors(tensors, f"{name}.{number}.")
        if table.get("kind") == AffineStep.kind:
            steps.append(AffineStep(AffineTransform(step_tensors["matrix"])))
            continue
        grid = _grid(table["grid"])
        if table["field"] is None:
            steps.append(DisplacementStep(ContinuedDisplacement(step_tensors["displacement"], grid)))
        else:
            steps.append(_read_field_step(from_table(FieldSettings, table["field"]), grid, step_tensors))
    return tuple(steps)


def _pop_tensors(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Remove the tensors whose names start with `prefix`; return them by their names without it."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix).replace(STORED_CODE, GLOBAL_CODE): tensors.pop(name) for name in names}


def _read_field_step(settings: FieldSettings, grid: Grid, state: dict[str, Tensor]) -> FieldStep:
    if _least_size(settings, grid) > sum(t.numel() for t in state.values()):  # before anything is allocated
        raise DataError("its tensors are smaller than its settings require")
    pair = build_fields(settings, grid, torch.Generator().manual_seed(0))
    if settings.inverse:
        codes = [name for name in state if "forward_field.codes." in name]
        state |= {SHARED_CODES + name.removeprefix("forward_field.codes."): state[name] for name in codes}
    pair.load_state_dict(state)
    return FieldStep(pair.requires_grad_(False))


def _least_size(settings: FieldSettings, grid: Grid) -> float:
    """Return a lower bound of the number of values stored for a pair of these settings."""
    extent = (grid.spacing * (torch.tensor(grid.shape, dtype=torch.int64) - 1)).tolist()
    codes, hidden = settings.global_codes + settings.local_codes, settings.hidden
    features = grid.dimension if settings.encoding == "coordinates" else 2 * settings.frequencies
    if settings.encoding in ("dense", "nested", "hash"):
        features = settings.channels * len(settings.spacings)
    size = float(hidden * (features + codes + hidden * (settings.layers - 1)))
    if settings.encoding in ("dense", "nested", "hash"):
        for spacing in settings.spacings:
            nodes = math.prod(max(1.0, length / spacing) for length in extent)
            size += settings.channels * (nodes if settings.encoding != "hash" else min(nodes, settings.table_size))
    if settings.local_codes:
        size += settings.local_codes * math.prod(max(1.0, length / settings.code_spacing) for length in extent)
    return size


def _grid_table(grid: Grid) -> dict[str, Any]:
    plane = {} if grid.plane is None else {"plane": [grid.plane.height, grid.plane.step]}
    return {"shape": list(grid.shape), "affine": grid.affine.tolist(), **plane}


def _grid(table: dict[str, Any]) -> Grid:
    """Return a stored grid; only slices have the key `plane`, which earlier readers ignore."""
    plane = None
    if "plane" in table:
        height, step = table["plane"]
        plane = Plane(float(height), None if step is None else float(step))
    shape = table["shape"]
    if not all(type(n) is int for n in shape):
        raise DataError(f"expected a grid's shape of whole numbers, found {short_repr(shape)}")
    return Grid(tuple(shape), torch.tensor(table["affine"], dtype=torch.float64), plane)
