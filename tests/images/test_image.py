import math

import pytest
import torch

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.images import Image

GRID = Grid.from_spacing((3, 4), (1.0, 1.0))


def test_voxels_of_another_shape_than_the_grid_are_refused() -> None:
    with pytest.raises(DataError, match=r"liver: expected voxels of shape \(3, 4\) like the grid, got \(4, 3\)"):
        Image(torch.zeros(4, 3), GRID, name="liver")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinite_voxels_are_refused(value) -> None:
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


def test_voxels_beyond_float32_are_not_finite() -> None:
    data = torch.zeros(GRID.shape, dtype=torch.float64)
    data[1, 2] = 1e300
    with pytest.raises(DataError, match=r"found 1 NaN or beyond 3\.4e38, the first at \(1, 2\)"):
        Image(data, GRID).require_finite()


@pytest.mark.parametrize("dtype", ["complex64", "float8_e4m3fn", "float8_e5m2", "uint16", "uint32", "uint64"])
def test_unsupported_types_are_refused(dtype) -> None:
    data = torch.empty(GRID.shape, dtype=getattr(torch, dtype))
    with pytest.raises(UsageError, match=rf"liver: expected voxels as a tensor of bool, .*, got torch\.{dtype};"):
        Image(data, GRID, name="liver")


def test_arrays_and_unknown_stored_types_are_refused() -> None:
    with pytest.raises(UsageError, match="got ndarray"):
        Image(torch.zeros(GRID.shape).numpy(), GRID)
    with pytest.raises(UsageError, match=r"stored_type: expected one of bool, .*, got 'short'"):
        Image(torch.zeros(GRID.shape), GRID, stored_type="short")


def test_voxel_type_is_the_type_in_the_file() -> None:
    image = Image(torch.zeros(3, 4, dtype=torch.int32), GRID, stored_type="uint16")
    assert image.voxel_type == "uint16"
    other = image.with_data(torch.zeros(3, 4))
    assert other.voxel_type == "float32" and other.grid is GRID


def test_with_grid_shares_the_voxels() -> None:
    image = Image(torch.zeros(3, 4), GRID, name="liver")
    other = image.with_grid(Grid.from_spacing((3, 4), (2.0, 2.0)))
    assert other.data is image.data and other.name == "liver" and other.grid.spacing.tolist() == [2.0, 2.0]
