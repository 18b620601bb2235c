"""`.nephi` files: a registration's transform, its inverse, both grids, and the settings it was made with.

A `.nephi` file is a safetensors file: numbers and one JSON text, nothing that could run code. The text lies under the
single metadata key `nephi` (safetensors does not keep the order of several keys, and equal results shall be equal
bytes).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nephi.errors import DataError, NephiError
from nephi.fields.build import build_fields
from nephi.fields.inverse import PolishedInverse
from nephi.fields.neural_field import FieldPair
from nephi.fields.settings import FieldSettings
from nephi.fields.tables import from_table
from nephi.geometry import Grid
from nephi.transforms import AffineTransform, Composite, Transform

FORMAT = "nephi-transform"
VERSION = 1
INVERSE_TOLERANCE = 0.5e-3  # mm between y and phi(inverse(y)): 0.001, less what floats and files round
TWIN = "inverse_field.codes."  # the inverse reads the forward field's codes: stored once


@dataclass(frozen=True, eq=False)
class StoredTransform:
    """What a `.nephi` file holds.

    `affine` takes fixed to moving points; `pair` (absent in an affine registration) acts before it, on the
    fixed side. `settings` are the registration's settings as plain tables, `about` versions and seed.
    """

    affine: AffineTransform
    fixed_grid: Grid
    moving_grid: Grid
    pair: FieldPair | None = None
    field_settings: FieldSettings | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def transform(self) -> Transform:
        """phi: fixed points to moving points (world mm, RAS)."""
        return self.affine if self.pair is None else Composite([self.pair.forward_field, self.affine])

    @property
    def inverse(self) -> Transform:
        """The inverse: moving points to fixed points, such that phi takes them back to within 0.001 mm.

        It starts from the trained inverse, if there is one. No gradient flows through it, see `PolishedInverse`.
        """
        back = self.affine.inverse()
        if self.pair is None:
            return back
        stretch = float(torch.linalg.matrix_norm(self.affine.matrix[:-1, :-1], ord=2))
        tolerance = INVERSE_TOLERANCE / max(1.0, stretch)  # on the field's side of the affine map
        return Composite([back, PolishedInverse(self.pair.forward_field, self.pair.inverse_field, tolerance)])

    @property
    def trained_inverse(self) -> Transform | None:
        """The inverse as it was fitted, moving points to fixed points, not polished; None where none was."""
        if self.pair is None or self.pair.inverse_field is None:
            return None
        return Composite([self.affine.inverse(), self.pair.inverse_field])


def nephi_bytes(stored: StoredTransform) -> bytes:
    """Return the content of a `.nephi` file; equal transforms give equal bytes."""
    from safetensors.torch import save

    tensors = {"affine": stored.affine.matrix.contiguous()}
    if stored.pair is not None:
        state = stored.pair.state_dict()
        for name, value in state.items():
            if not name.startswith(TWIN):
                # Tables are rounded to half precision at the end of the fit, see FieldPair.round_tables.
                tensors[f"pair.{name}"] = (value.half() if name.endswith(".table") else value).cpu().contiguous()
    header = {
        "format": FORMAT,
        "version": VERSION,
        "fixed_grid": _grid_table(stored.fixed_grid),
        "moving_grid": _grid_table(stored.moving_grid),
        "field": asdict(stored.field_settings) if stored.field_settings else None,
        "settings": stored.settings,
        "about": stored.about,
    }
    data: bytes = save(tensors, metadata={"nephi": json.dumps(header, sort_keys=True)})
    return data


def read_nephi(path: str | Path) -> StoredTransform:
    """Read a `.nephi` file.

    Raises `DataError` when the file is missing, cut short, not one of ours, of a later version, or when its tensors do
    not fit its settings.
    """
    header, tensors = _read_checked(Path(path))
    try:
        fixed_grid, moving_grid = _grid(header["fixed_grid"]), _grid(header["moving_grid"])
        affine = AffineTransform(tensors.pop("affine"))
        if not affine.dimension == fixed_grid.dimension == moving_grid.dimension:
            raise DataError("its affine and its grids differ in dimension")
        settings = None if header["field"] is None else from_table(FieldSettings, header["field"])
        pair = _pair(settings, fixed_grid, tensors) if settings else None
        return StoredTransform(
            affine, fixed_grid, moving_grid, pair, settings, dict(header["settings"]), dict(header["about"])
        )
    except NephiError as error:
        raise DataError(f"{path}: damaged .nephi file: {error}") from None
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise DataError(f"{path}: damaged .nephi file: {type(error).__name__} {_one_line(error)}") from None


def _read_checked(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise DataError(f"{path}: no such file; expected a .nephi transform")
    try:
        with safe_open(str(path), framework="pt") as handle:
            header = json.loads((handle.metadata() or {}).get("nephi", "null"))
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a .nephi transform, or cut short ({_one_line(error)})") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise DataError(
            f"{path}: a safetensors file, but not a nephi transform; expected one written by nephi register"
        )
    if header.get("version") != VERSION:
        raise DataError(
            f"{path}: .nephi version {header.get('version')}, this nephi reads version {VERSION}; update nephi"
        )
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{path}: damaged .nephi file: {name} holds NaN or infinite values")
    return header, tensors


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _pair(settings: FieldSettings, grid: Grid, tensors: dict[str, Tensor]) -> FieldPair:
    stored = sum(t.numel() for t in tensors.values())
    if _least_size(settings, grid) > stored:  # before anything of that size is allocated
        raise DataError("its tensors are smaller than its settings say")
    pair = build_fields(settings, grid, torch.Generator().manual_seed(0))
    state = {name.removeprefix("pair."): tensor for name, tensor in tensors.items()}
    state |= {
        TWIN + k.removeprefix("forward_field.codes."): v
        for k, v in state.items()
        if "forward_field.codes." in k and settings.inverse
    }
    pair.load_state_dict(state)
    return pair.requires_grad_(False)


def _least_size(settings: FieldSettings, grid: Grid) -> float:
    """Return a count that the numbers stored for a pair of these settings surely exceed."""
    extent = (grid.spacing * (torch.tensor(grid.shape) - 1)).tolist()
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
    return {"shape": list(grid.shape), "affine": grid.affine.tolist()}


def _grid(table: dict[str, Any]) -> Grid:
    return Grid(tuple(table["shape"]), torch.tensor(table["affine"], dtype=torch.float64))
