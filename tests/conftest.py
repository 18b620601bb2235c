"""Settings and fixtures that every test shares."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from nephi.geometry import Grid

# A shell lets its background jobs ignore Ctrl-C, and their children inherit that: tests of interrupts need the default.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# One thread: sums are added in the same order whatever the number of cores, and tensors here are small.
torch.set_num_threads(1)

# The same examples on every run, and none fails for being slow on a busy machine.
settings.register_profile("nephi", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("nephi")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real image pairs, kept beside the repository and not part of it."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs the image pairs of shared/data, a folder beside the repository; it is missing")
    return path


def _oblique(shape: tuple[int, ...], spacing: list[float], origin: list[float], axes: list[int]) -> Grid:
    """A left-handed grid out of the world's axes: voxel axis i runs, nearly, along world axis `axes[i]`."""
    d = len(shape)
    normal = torch.tensor([0.1, -0.2, 1.0][-d:], dtype=torch.float64)
    mirror = torch.eye(d, dtype=torch.float64) - 2 * torch.outer(normal, normal) / normal.square().sum()
    affine = torch.eye(d + 1, dtype=torch.float64)
    affine[:-1, :-1] = mirror[:, axes] * torch.tensor(spacing)
    affine[:-1, -1] = torch.tensor(origin)
    return Grid(shape, affine)


@pytest.fixture(scope="session")
def grids() -> dict[int, Grid]:
    """One grid for 2-D and one for 3-D: oblique, anisotropic, left-handed, unequal sizes."""
    return {
        2: _oblique((7, 5), [1.5, 0.8], [-31.0, 47.5], [0, 1]),
        3: _oblique((7, 5, 6), [1.5, 0.8, 2.5], [-31.0, 47.5, 212.25], [0, 1, 2]),
    }


@pytest.fixture(scope="session", params=["2-D", "3-D", "permuted"])
def grid(request: pytest.FixtureRequest, grids: dict[int, Grid]) -> Grid:
    """Grids that hide nothing: those of `grids`, and a right-handed one with its axes in another order."""
    if request.param == "permuted":
        return _oblique((6, 4, 8), [2.0, 3.5, 1.2], [12.0, -80.0, 5.5], [0, 2, 1])
    return grids[int(request.param[0])]


@pytest.fixture(scope="session")
def grid_2d(grids: dict[int, Grid]) -> Grid:
    return grids[2]


@pytest.fixture(scope="session")
def grid_3d(grids: dict[int, Grid]) -> Grid:
    return grids[3]


@pytest.fixture(scope="session")
def sheared_grid(grid_3d: Grid) -> Grid:
    """What few formats can hold."""
    affine = grid_3d.affine.clone()
    affine[:3, 2] += 0.2 * affine[:3, 0]
    return Grid(grid_3d.shape, affine)


@pytest.fixture(scope="session", params=[2, 3], ids=["2-D", "3-D"])
def dimension(request: pytest.FixtureRequest) -> int:
    """For tests that need no grid, or choose one from `grids`."""
    return request.param


@pytest.fixture(scope="session")
def points_in() -> Callable[..., torch.Tensor]:
    """Draw world points `(count, D)`, float64, over a grid and `margin` voxels around it."""

    def draw(grid: Grid, count: int = 40, margin: float = 0.0) -> torch.Tensor:
        shares = torch.rand(count, grid.dimension, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        return grid.voxel_to_world_points(shares * (torch.tensor(grid.shape) - 1 + 2 * margin) - margin)

    return draw
