"""Small fields with every parameter away from zero, in float64, and derivatives by backward passes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nephi.fields import FieldPair, FieldSettings, FieldStep, StoredTransform, build_fields, nephi_bytes
from nephi.geometry import Grid
from nephi.transforms import AffineTransform

SMALL = {
    "spacings": (6.0, 2.5),
    "channels": 2,
    "table_size": 10,  # the finer level of a hash grid collides
    "frequencies": 3,
    "hidden": 5,
    "layers": 3,
    "omegas": (1.0, 2.0),
    "code_spacing": 4.0,
}


@pytest.fixture(scope="session")
def small_settings() -> Callable[..., FieldSettings]:
    """Make settings of a small field; keywords as in FieldSettings."""
    return lambda **changes: FieldSettings(**{**SMALL, **changes})


@pytest.fixture(scope="session")
def trained_pair() -> Callable[[FieldSettings, Grid], FieldPair]:
    """Build a pair whose parameters are all random, as if it were fitted; float32."""

    def build(settings: FieldSettings, grid: Grid, seed: int = 0) -> FieldPair:
        generator = torch.Generator().manual_seed(seed)
        pair = build_fields(settings, grid, generator)
        with torch.no_grad():
            for parameter in pair.parameters():
                parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
        return pair

    return build


@pytest.fixture(scope="session")
def unit_points() -> Callable[..., Tensor]:
    """Draw points `(count, D)` in the unit cube, float64."""

    def draw(dimension: int, count: int = 12, seed: int = 0) -> Tensor:
        return torch.rand(count, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    return draw


@pytest.fixture(scope="session")
def derivatives() -> Callable[..., Tensor]:
    """Differentiate `function(points)`, `(N, C)`: `result[j, n, c]` is the derivative by coordinate j."""

    def differentiate(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
        points = points.clone().requires_grad_()
        columns = function(points).unbind(-1)
        rows = [torch.autograd.grad(c.sum(), points, retain_graph=True, materialize_grads=True)[0] for c in columns]
        return torch.stack(rows, dim=-1).movedim(1, 0)

    return differentiate


@pytest.fixture
def make_stored(small_settings, trained_pair) -> Callable[..., StoredTransform]:
    def make(grid: Grid, **changes: Any) -> StoredTransform:
        field_settings = small_settings(**changes)
        pair = trained_pair(field_settings, grid).requires_grad_(False)
        pair.round_tables()
        matrix = torch.eye(grid.dimension + 1, dtype=torch.float64)
        matrix[0, 1], matrix[0, -1] = 0.1, 1 / 3
        moving_grid = Grid(tuple(n + 1 for n in grid.shape), grid.affine)
        tables = {"fit": {"steps": 300, "rate": 1e-3}, "name": "ü"}
        steps = (FieldStep(pair),)
        return StoredTransform(AffineTransform(matrix), grid, moving_grid, steps, tables, {"seed": 7})

    return make


@pytest.fixture
def stored(make_stored, grids) -> StoredTransform:
    return make_stored(grids[3], encoding="hash", global_codes=2, local_codes=3)


@pytest.fixture
def path(stored, tmp_path) -> Path:
    file = tmp_path / "pair.nephi"
    file.write_bytes(nephi_bytes(stored))
    return file
