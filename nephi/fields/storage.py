"""`.nephi` files: a stored transform as bytes, and back."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.fields.build import build_fields
from nephi.fields.settings import FieldSettings
from nephi.fields.steps import DisplacementStep, FieldStep, Step
from nephi.fields.stored import StoredTransform
from nephi.fields.tensor_file import UNFIT, TensorFile
from nephi.geometry import Grid, Plane, require_cpu_by_default
from nephi.tables import from_table
from nephi.transforms import AffineTransform, ContinuedDisplacement

# Version 1: at most one step, fields over the fixed grid, as a fit leaves it; 2: any number, each with its own grid.
FILE = TensorFile("nephi-transform", (1, 2), ".nephi transform", "nephi register")
STORED_CODE, GLOBAL_CODE = ".codes.everywhere", ".codes.global_code"  # the name in files is that of their first version
TWIN = "inverse_field.codes."  # the inverse reads the forward field's codes: stored once


def nephi_bytes(stored: StoredTransform) -> bytes:
    """Return the content of a `.nephi` file; equal transforms give equal bytes."""
    header: dict[str, Any] = {
        "fixed_grid": _grid_table(stored.fixed_grid),
        "moving_grid": _grid_table(stored.moving_grid),
        "settings": stored.settings,
        "about": stored.about,
    }
    tensors = {"affine": stored.affine.matrix.contiguous()}
    version = 1 if _is_plain(stored) else 2
    if version == 1:
        field_settings = [asdict(step.settings) for step in stored.steps if isinstance(step, FieldStep)]
        header["field"] = field_settings[0] if field_settings else None
        prefixes = ["pair."]
    else:
        header["steps"] = [_step_table(step) for step in stored.steps]
        prefixes = [f"steps.{i}." for i in range(len(stored.steps))]
    for prefix, step in zip(prefixes, stored.steps, strict=False):
        tensors |= {prefix + name: value for name, value in _step_tensors(step).items()}
    return FILE.to_bytes(header, tensors, version)


def _is_plain(stored: StoredTransform) -> bool:
    """Tell whether version 1 can hold it: every nephi reads that."""
    if not stored.steps:
        return True
    (step, *more), grid = stored.steps, stored.fixed_grid
    same = step.grid.shape == grid.shape and torch.equal(step.grid.affine, grid.affine)
    return isinstance(step, FieldStep) and same and not more


def _step_table(step: Step) -> dict[str, Any]:
    kind = {"field": asdict(step.settings)} if isinstance(step, FieldStep) else {"field": None}
    return {"grid": _grid_table(step.grid), **kind}


def _step_tensors(step: Step) -> dict[str, Tensor]:
    if isinstance(step, DisplacementStep):
        return {"displacement": step.field.displacement.float().cpu().contiguous()}
    # Tables are rounded to half precision at the end of the fit, see FieldPair.round_tables.
    return {
        name.replace(GLOBAL_CODE, STORED_CODE): (value.half() if name.endswith(".table") else value).cpu().contiguous()
        for name, value in step.pair.state_dict().items()
        if not name.startswith(TWIN)
    }


@torch.inference_mode(False)
def read_nephi(path: str | Path) -> StoredTransform:
    """Read a `.nephi` file.

    Raises `DataError` when the file is missing, cut short, not one of ours, of a later version, or when its tensors do
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
        steps = _plain_steps(header, fixed_grid, tensors) if header["version"] == 1 else _steps(header, tensors)
        if any(step.grid.dimension != affine.dimension for step in steps):
            raise DataError("its affine and a step differ in dimension")
        if tensors:
            raise DataError(f"Unexpected key {next(iter(tensors))}")
        return StoredTransform(affine, fixed_grid, moving_grid, steps, dict(header["settings"]), dict(header["about"]))
    except UNFIT as error:
        raise FILE.damaged(path, error) from None


def _plain_steps(header: dict[str, Any], grid: Grid, tensors: dict[str, Tensor]) -> tuple[Step, ...]:
    """Return the step of a file of version 1, if it has one, and take its tensors away."""
    if header["field"] is None:
        return ()
    return (_field_step(from_table(FieldSettings, header["field"]), grid, _taken(tensors, "pair.")),)


def _steps(header: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[Step, ...]:
    """Return the steps, and take their tensors away."""
    steps: list[Step] = []
    for number, table in enumerate(header["steps"]):
        grid, own = _grid(table["grid"]), _taken(tensors, f"steps.{number}.")
        if table["field"] is None:
            steps.append(DisplacementStep(ContinuedDisplacement(own["displacement"], grid)))
        else:
            steps.append(_field_step(from_table(FieldSettings, table["field"]), grid, own))
    return tuple(steps)


def _taken(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take the tensors whose names begin with `prefix` away; return them without it."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix).replace(STORED_CODE, GLOBAL_CODE): tensors.pop(name) for name in names}


def _field_step(settings: FieldSettings, grid: Grid, state: dict[str, Tensor]) -> FieldStep:
    stored = sum(t.numel() for t in state.values())
    if _least_size(settings, grid) > stored:  # before anything of that size is allocated
        raise DataError("its tensors are smaller than its settings say")
    pair = build_fields(settings, grid, torch.Generator().manual_seed(0))
    state |= {
        TWIN + k.removeprefix("forward_field.codes."): v
        for k, v in state.items()
        if "forward_field.codes." in k and settings.inverse
    }
    pair.load_state_dict(state)
    return FieldStep(pair.requires_grad_(False), settings, grid)


def _least_size(settings: FieldSettings, grid: Grid) -> float:
    """Return a count that the numbers stored for a pair of these settings surely exceed."""
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
    """Return a stored grid; `plane` is there only for slices that have one, and ignored by versions before it."""
    plane = None
    if "plane" in table:
        height, step = table["plane"]
        plane = Plane(float(height), None if step is None else float(step))
    return Grid(tuple(table["shape"]), torch.tensor(table["affine"], dtype=torch.float64), plane)
