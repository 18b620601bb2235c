"""Every model of `MODELS`: its file, prediction, stored transform, inverse, export and refinement.

The rows are those of tests/models/test_models.py, so that a new model is tested here without further changes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import nephi
from nephi.fields import read_nephi
from nephi.geometry import Grid, determinant
from nephi.images import Image
from nephi.inference import Refinement, plan_prediction, predict
from nephi.models import (
    MODELS,
    InputSettings,
    StoredModel,
    build_model,
    input_grid,
    model_bytes,
    model_class,
    read_model,
    to_model_input,
    world_transform,
    write_model,
)
from nephi.transforms import Maps

from ..models.predictions import picture
from ..models.test_models import SMALL
from ..models.translation import TranslationModel

SHAPE, SPACING = (19, 14, 11), (3.0, 4.0, 3.5)
FIXED, MOVING = (17, 15, 12), (14, 18, 13)
EXTENTS = ("fixed", "image")
KINDS = list({settings.kind: name for name, settings in reversed(SMALL.items())}.values())  # the first row of each kind

# Attention by random features folds, or maps all points to one.
pytestmark = pytest.mark.filterwarnings("ignore:transform. expected folding", "ignore:.*vectors look like positions")


class Case(NamedTuple):
    """A model that does not predict the identity, two images of another shape than its input, and whether it folds."""

    stored: StoredModel
    fixed: Image
    moving: Image
    regular: bool

    def predict(self, **options: Any) -> nephi.Registration:
        return predict(self.fixed, self.moving, model=self.stored, device="cpu", **options)

    def plan(self, **options: Any) -> nephi.optimize.Plan:
        return plan_prediction(self.fixed, self.moving, model=self.stored, device="cpu", **options)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(MODELS, "translation", TranslationModel)
    yield


def image(shape: tuple[int, ...], centre: list[float], bend: float, name: str) -> Image:
    """A smooth world on an oblique, left-handed, anisotropic grid, far from the origin."""
    d = len(shape)
    skew = torch.tensor([[0.0, 0.2, -0.1], [-0.2, 0.0, 0.3], [0.1, -0.3, 0.0]], dtype=torch.float64)[:d, :d]
    axes = torch.linalg.matrix_exp(skew) @ torch.diag(torch.tensor([-3.1, 3.4, 4.2], dtype=torch.float64)[:d])
    middle = torch.tensor(centre[:d], dtype=torch.float64)
    affine = torch.eye(d + 1, dtype=torch.float64)
    affine[:-1, :-1] = axes
    affine[:-1, -1] = middle - axes @ ((torch.tensor(shape, dtype=torch.float64) - 1) / 2)
    return picture(Grid(shape, affine), middle, bend, name)


@cache
def case(name: str, dimension: int, extent: str) -> Case:
    """Return a case whose prediction moves points and, if the untrained model is the identity, does not fold."""
    settings = InputSettings(SHAPE[:dimension], SPACING[:dimension], extent=extent)
    generator = torch.Generator().manual_seed(7)
    fresh = build_model(SMALL[name], input_grid(settings), generator).eval()
    fixed = image(FIXED[:dimension], [120.0, -80.0, 45.0], 0.0, "fixed")
    moving = image(MOVING[:dimension], [-30.0, 15.0, 400.0], 2.0, "moving")
    inputs = [to_model_input(each, None, settings).values[None] for each in (fixed, moving)]
    noise = [torch.randn(parameter.shape, generator=generator, dtype=torch.float32) for parameter in fresh.parameters()]
    spreads = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.001) if fresh.starts_as_identity else (0.05,)
    for spread in spreads:
        model = copy.deepcopy(fresh)
        with torch.no_grad():
            for parameter, values in zip(model.parameters(), noise, strict=True):
                parameter += spread * values
            prediction = model(*inputs)
        regular = all(is_regular(each, fresh.grid) for each in prediction[:2] if each is not None)
        if regular:
            break
    assert regular or not fresh.starts_as_identity
    return Case(StoredModel(model, settings, model_class(SMALL[name]).default_objective), fixed, moving, regular)


def is_regular(maps: Maps, grid: Grid) -> bool:
    """Return whether maps have no folds in `grid` and around it."""
    index = torch.rand(4000, grid.dimension, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    points = grid.voxel_to_world_points((1.6 * index - 0.3) * torch.tensor(grid.shape)).float()
    with torch.no_grad():
        determinants = determinant(maps.value_and_jacobian(points[None])[1])
    return bool((determinants > 0.4).all() and (determinants < 2.5).all())


def probes(grid: Grid) -> Tensor:
    """Random world points `(60, D)` in and around an image."""
    index = torch.rand(60, grid.dimension, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return grid.voxel_to_world_points((1.2 * index - 0.1) * torch.tensor(grid.shape))


def extent_of(name: str, dimension: int) -> str:
    """Return one of both extents in 2-D and the other in 3-D; the next row has the opposite ones."""
    return EXTENTS[(list(SMALL).index(name) + dimension) % 2]


@pytest.mark.parametrize("name", SMALL)
def test_the_prediction_is_stored_inverted_and_exported(name: str, dimension: int, tmp_path: Path) -> None:
    own = case(name, dimension, extent_of(name, dimension))
    write_model(own.stored, tmp_path / "m.safetensors")
    result = own._replace(stored=read_model(tmp_path / "m.safetensors")).predict()
    inputs = [to_model_input(each, None, own.stored.input) for each in (own.fixed, own.moving)]
    with torch.no_grad():
        maps = own.stored.model(*(each.values[None] for each in inputs))
    points = probes(own.fixed.grid)
    phi, straight = (
        world_transform(each, *inputs)(points) for each in (lambda x: maps.forward(x[None])[0].detach(), lambda x: x)
    )
    assert float((phi - straight).norm(dim=-1).mean()) > 0.01
    mapped = result.transform(points)
    torch.testing.assert_close(mapped, phi, rtol=0, atol=5e-3)  # feature grids are stored in half precision
    if own.regular:
        assert float((result.transform(result.inverse(mapped)) - mapped).norm(dim=-1).max()) < 1e-3
    if result.stored.steps:
        assert (result.stored.unrefined_inverse is not None) == (maps.inverse is not None)
    result.save(tmp_path / "out", outputs=["transform", "warp"])
    read = read_nephi(tmp_path / "out" / "transform.nephi")
    torch.testing.assert_close(read.transform(points), mapped, rtol=0, atol=1e-5)
    torch.testing.assert_close(read.inverse(mapped), result.inverse(mapped), rtol=0, atol=1e-3)
    field = nephi.read_transform(tmp_path / "out" / "warp.nii.gz")
    centres = own.fixed.grid.voxel_centres().double().reshape(-1, dimension)
    torch.testing.assert_close(field(centres), result.transform(centres), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("parameters", "size"), [("all", 3), ("network", 2)])
@pytest.mark.parametrize("name", KINDS)
def test_refinement_leaves_the_model_as_it_is(name: str, parameters: str, size: int) -> None:
    own, refinement = case(name, size, extent_of(name, size)), Refinement(3, parameters)
    before, points = model_bytes(own.stored), probes(own.fixed.grid)
    plan = own.plan(refinement=refinement)
    assert plan.parameters > 0 and sum(level.settings.steps for level in plan.levels) == 3 * (parameters == "all")
    predicted, refined = own.predict(), own.predict(refinement=refinement)
    assert model_bytes(own.stored) == before
    assert torch.equal(own.predict().transform(points), predicted.transform(points))
    if parameters == "network":  # here the first pair's weights could be left behind
        assert torch.equal(own.predict(refinement=refinement).transform(points), refined.transform(points))
    assert len(refined.history) == 3 and refined.stored.about["refinement"]["parameters"] == parameters
    gap = (refined.transform(points) - predicted.transform(points)).norm(dim=-1)
    assert 0 < float(gap.max()) < (6.0 if own.regular else torch.inf)  # three small steps
