import math

import pytest
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image

GRID = Grid.from_spacing((3, 4), (1.0, 1.0))


def test_voxels_must_fit_the_grid() -> None:
    with pytest.raises(DataError, match=r"liver: voxels of shape \(4, 3\) on a grid of \(3, 4\)"):
        Image(torch.zeros(4, 3), GRID, name="liver")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_voxels_that_are_no_number_are_found(value) -> None:
    data = torch.zeros(3, 4)
    data[1, 2] = data[2, 0] = value
    with pytest.raises(DataError, match=r"liver: .*found 2 NaN or infinite, the first at \(1, 2\)"):
        Image(data, GRID, name="liver").require_finite()


@pytest.mark.parametrize("dtype", [torch.bool, torch.int16, torch.float64])
def test_constant_images_are_refused(dtype) -> None:
    data = torch.ones(3, 4, dtype=dtype)
    with pytest.raises(DataError, match="found the constant 1"):
        Image(data, GRID).require_contrast()
    data[0, 0] = 0
    Image(data, GRID).require_contrast()
    Image(data, GRID).require_finite()


def test_voxel_type_is_that_of_the_file() -> None:
    image = Image(torch.zeros(3, 4, dtype=torch.int32), GRID, stored_type="uint16")
    assert image.voxel_type == "uint16"
    other = image.with_data(torch.zeros(3, 4))
    assert other.voxel_type == "float32" and other.grid is GRID


def test_with_grid_moves_the_same_voxels() -> None:
    image = Image(torch.zeros(3, 4), GRID, name="liver")
    elsewhere = image.with_grid(Grid.from_spacing((3, 4), (2.0, 2.0)))
    assert elsewhere.data is image.data and elsewhere.name == "liver" and elsewhere.grid.spacing.tolist() == [2.0, 2.0]
