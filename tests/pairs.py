"""A 2-D phantom, settings that register it in under a second, and a registration shared by many tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nephi.fields import FieldSettings
from nephi.optimize import register
from nephi.phantoms import PhantomPair, shapes_phantom
from nephi.results import Registration
from nephi.settings import AffineSettings, FitObjectiveSettings, LevelSettings, Settings

QUICK = Settings(
    affine=AffineSettings(smoothing=(5.0,), steps=60, points=1000),
    field=FieldSettings(spacings=(48.0, 24.0, 12.0)),
    objective=FitObjectiveSettings(points=256, radius=1, regularization_points=64, background_points=32),
    levels=(LevelSettings(50, 3.0, 4.0), LevelSettings(70, 0.0, 3.0)),
)


@pytest.fixture(scope="session")
def shapes() -> PhantomPair:
    """The mean landmark error is 3.3 mm, and 1.9 mm after the best affine map."""
    return shapes_phantom(seed=1, motion=6.0, shape=(96, 96))


@pytest.fixture(scope="session")
def quick() -> Settings:
    return QUICK


@pytest.fixture(scope="session")
def brief() -> Settings:
    """A few steps, for tests that do not concern accuracy."""
    levels = (LevelSettings(4, 3.0, 4.0), LevelSettings(4, 0.0, 3.0))
    return replace(QUICK, affine=replace(QUICK.affine, steps=4), levels=levels)


@pytest.fixture(scope="session")
def fitted(shapes: PhantomPair, quick: Settings) -> Registration:
    masks = {"fixed_mask": shapes.fixed_mask, "moving_mask": shapes.moving_mask}
    return register(shapes.fixed, shapes.moving, settings=quick, **masks)


@pytest.fixture(scope="session")
def saved(fitted: Registration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    fitted.save(folder)
    return folder


@pytest.fixture(scope="session")
def changed() -> Callable[..., Settings]:
    """`changed(settings, optimization=dict(rate=1.0))`: settings with some values of some tables replaced."""

    def change(settings: Settings, **tables: Any) -> Settings:
        new = {
            name: replace(getattr(settings, name), **value) if isinstance(value, dict) else value
            for name, value in tables.items()
        }
        return replace(settings, **new)

    return change
