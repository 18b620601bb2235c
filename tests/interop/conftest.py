"""Grids that hide nothing: oblique, anisotropic, left-handed, unequal sizes; 2-D and 3-D."""

import math
from pathlib import Path

import pytest
import torch

from nephi.geometry import Grid

from .scenes import Scene, make_scene


def oblique_grid(dimension: int) -> Grid:
    """A left-handed grid: axes turned out of the world's, none of equal spacing or length."""
    shape: tuple[int, ...]
    if dimension == 2:
        c, s = math.cos(0.3), math.sin(0.3)
        linear = torch.tensor([[c, s], [s, -c]]) @ torch.diag(torch.tensor([1.5, 0.8]))
        shape, origin = (7, 5), torch.tensor([-31.0, 47.5])
    else:
        # A Householder reflection is orthogonal with determinant -1.
        v = torch.nn.functional.normalize(torch.tensor([0.2, -0.5, 1.0]), dim=0)
        linear = (torch.eye(3) - 2 * torch.outer(v, v)) @ torch.diag(torch.tensor([1.5, 0.8, 2.5]))
        shape, origin = (7, 5, 6), torch.tensor([-31.0, 47.5, 812.25])
    affine = torch.eye(dimension + 1, dtype=torch.float64)
    affine[:-1, :-1], affine[:-1, -1] = linear, origin
    return Grid(shape, affine)


@pytest.fixture(params=[2, 3], ids=["2-D", "3-D"])
def grid(request: pytest.FixtureRequest) -> Grid:
    return oblique_grid(request.param)


@pytest.fixture
def grid_3d() -> Grid:
    return oblique_grid(3)


@pytest.fixture
def grid_2d() -> Grid:
    return oblique_grid(2)


@pytest.fixture
def sheared_grid(grid_3d: Grid) -> Grid:
    affine = grid_3d.affine.clone()
    affine[:3, 2] += 0.2 * affine[:3, 0]
    return Grid(grid_3d.shape, affine)


@pytest.fixture(params=["RAS", "LPS", "left-handed", "oblique", "2-D"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    return make_scene(request.param, tmp_path)


@pytest.fixture(params=["RAS", "LPS", "left-handed", "oblique"])
def scene_3d(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    return make_scene(request.param, tmp_path)


@pytest.fixture
def oblique(tmp_path: Path) -> Scene:
    return make_scene("oblique", tmp_path)
