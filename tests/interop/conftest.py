"""Scenes on grids with unequal axes."""

from pathlib import Path

import pytest

from .scenes import Scene, make_scene


@pytest.fixture(params=["RAS", "LPS", "left-handed", "oblique", "2-D"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    return make_scene(request.param, tmp_path)


@pytest.fixture(params=["RAS", "LPS", "left-handed", "oblique"])
def scene_3d(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    return make_scene(request.param, tmp_path)


@pytest.fixture
def oblique(tmp_path: Path) -> Scene:
    return make_scene("oblique", tmp_path)
