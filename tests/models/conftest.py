"""Small grids and networks."""

import pytest
import torch

from nephi.fields import FieldSettings
from nephi.geometry import Grid


@pytest.fixture(params=[2, 3])
def dimension(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def grid(dimension: int) -> Grid:
    """Oblique, with sizes that halve unevenly."""
    affine = torch.eye(dimension + 1, dtype=torch.float64)
    affine[:-1, :-1] = torch.tensor([[-2.0, 0.3, 0.0], [0.1, 1.5, 0.2], [0.0, -0.4, 2.5]])[:dimension, :dimension]
    affine[:-1, -1] = torch.tensor([40.0, -10.0, 7.0])[:dimension]
    return Grid((19, 14, 11)[:dimension], affine)


@pytest.fixture
def images(grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Three pairs of noise."""
    generator = torch.Generator().manual_seed(1)
    fixed, moving = (torch.rand(3, 1, *grid.shape, generator=generator) for _ in range(2))
    return fixed, moving


@pytest.fixture
def field_settings() -> FieldSettings:
    return FieldSettings(
        encoding="coordinates",
        hidden=8,
        layers=2,
        global_codes=3,
        local_codes=4,
        code_spacing=9.0,
        amplitude=1.0,
        amplitude_unit="edge",
    )
