"""Settings and fixtures shared by all tests."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

# Before torch is imported: threads that spin while they wait, beside other workers on the same cores, make a test of a
# command or a model a hundred times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from hypothesis import settings

from nephi.geometry import Grid

# Background jobs of a shell, and their children, ignore Ctrl-C: tests of interrupts need the default handler.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# One thread: sums have the same order for any number of cores, and the tensors of the tests are small.
torch.set_num_threads(1)

# The same examples in every run, without a time limit, because the machine may be busy.
settings.register_profile("nephi", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("nephi")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real image pairs, outside the repository."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs the image pairs of shared/data, a folder next to the repository, which is missing")
    return path


def _oblique(shape: tuple[int, ...], spacing: list[float], origin: list[float], axes: list[int]) -> Grid:
    """An oblique, left-handed grid: voxel axis i is almost parallel to world axis `axes[i]`."""
    d = len(shape)
    normal = torch.tensor([0.1, -0.2, 1.0][-d:], dtype=torch.float64)
    reflection = torch.eye(d, dtype=torch.float64) - 2 * torch.outer(normal, normal) / normal.square().sum()
    affine = torch.eye(d + 1, dtype=torch.float64)
    affine[:-1, :-1] = reflection[:, axes] * torch.tensor(spacing)
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
    """The grids of `grids`, and a right-handed one with permuted axes: errors in any convention show."""
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
    """A grid that few formats can store."""
    affine = grid_3d.affine.clone()
    affine[:3, 2] += 0.2 * affine[:3, 0]
    return Grid(grid_3d.shape, affine)


@pytest.fixture(scope="session", params=[2, 3], ids=["2-D", "3-D"])
def dimension(request: pytest.FixtureRequest) -> int:
    """For tests that need no grid, or select one from `grids`."""
    return request.param


@pytest.fixture(scope="session")
def points_in() -> Callable[..., torch.Tensor]:
    """Sample world points `(count, D)`, float64, in a grid and `margin` voxels around it."""

    def sample(grid: Grid, count: int = 40, margin: float = 0.0) -> torch.Tensor:
        unit = torch.rand(count, grid.dimension, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        return grid.voxel_to_world_points(unit * (torch.tensor(grid.shape) - 1 + 2 * margin) - margin)

    return sample
