"""Small random images."""

from collections.abc import Callable

import pytest
import torch

from nephi.geometry import Grid
from nephi.images import Image


@pytest.fixture(scope="session")
def random_image() -> Callable[..., Image]:
    """Return a function that creates an image of random voxels, -100 to 900, on a grid."""

    def make(grid: Grid, dtype: torch.dtype = torch.int16, seed: int = 0) -> Image:
        data = 1000 * torch.rand(grid.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 100
        return Image(data.to(dtype), grid)

    return make
