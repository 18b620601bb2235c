"""Two images and their masks, checked and made ready."""

from dataclasses import replace

import pytest
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.phantoms import PhantomPair, lung_phantom
from nephi.preparation.pair import make_pair
from nephi.settings.registration import ImageSettings

EVERYWHERE = ImageSettings()


@pytest.fixture(scope="module")
def ct() -> PhantomPair:
    return lung_phantom(seed=1, motion=15.0, shape=(48, 36, 40))


@pytest.fixture
def image(grids: dict[int, Grid]) -> Image:
    data = torch.arange(35.0).reshape(7, 5)
    return Image(data, grids[2], name="a.nii")


def mask_of(image: Image, where: torch.Tensor, name: str = "mask.nii") -> Image:
    return Image(where.to(torch.uint8), image.grid, name=name)


def with_voxel(image: Image, value: float, name: str) -> Image:
    data = image.data.clone()
    data[3, 2] = value
    return Image(data, image.grid, name=name)


def other_grids(grid: Grid) -> dict[str, Grid]:
    moved, spaced = grid.affine.clone(), grid.affine.clone()
    moved[0, -1] += 0.5
    spaced[:-1, 0] *= 1.01
    turned = grid.affine.clone()
    turned[:-1, 0] *= -1
    return {
        "moved": Grid(grid.shape, moved),
        "spaced": Grid(grid.shape, spaced),
        "flipped": Grid(grid.shape, turned),
        "smaller": Grid((grid.shape[0] - 1, *grid.shape[1:]), grid.affine),
        "permuted": Grid(tuple(reversed(grid.shape)), grid.affine),
    }


def test_good_images_pass_unchanged(image: Image) -> None:
    mask = mask_of(image, image.data > 10)
    pair = make_pair(image, image, mask, None, EVERYWHERE)
    assert pair.fixed is image and pair.moving is image and pair.fixed_mask is mask and pair.moving_mask is None


def test_dimensions_have_to_agree(image: Image, ct: PhantomPair) -> None:
    with pytest.raises(DataError, match=r"a\.nii is 2-D and moving phantom is 3-D"):
        make_pair(image, ct.moving, None, None, EVERYWHERE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_voxels_have_to_be_finite(image: Image, value: float) -> None:
    bad = with_voxel(image, value, "bad.nii")
    for fixed, moving in ((bad, image), (image, bad)):
        with pytest.raises(DataError, match=r"bad\.nii: .*found 1 NaN or infinite, the first at \(3, 2\)"):
            make_pair(fixed, moving, None, None, EVERYWHERE)


def test_images_need_contrast(image: Image) -> None:
    flat = Image(torch.full_like(image.data, 7), image.grid, name="flat.nii")
    with pytest.raises(DataError, match=r"flat\.nii: .*found the constant 7"):
        make_pair(image, flat, None, None, EVERYWHERE)


@pytest.mark.parametrize("how", ["moved", "spaced", "flipped", "smaller", "permuted"])
def test_masks_lie_on_their_images_grid(image: Image, how: str) -> None:
    grid = other_grids(image.grid)[how]
    mask = Image(torch.ones(grid.shape, dtype=torch.uint8), grid, name="mask.nii")
    for masks in ((mask, None), (None, mask)):
        with pytest.raises(DataError, match=r"mask\.nii: expected a mask on the grid of a\.nii .*nephi apply"):
            make_pair(image, image, *masks, EVERYWHERE)


def test_masks_that_have_changed_places_are_told_as_such(image: Image) -> None:
    there = replace(image, grid=other_grids(image.grid)["moved"], name="b.nii")
    masks = [Image(torch.ones(i.grid.shape, dtype=torch.uint8), i.grid, name="mask.nii") for i in (there, image)]
    with pytest.raises(DataError, match=r"mask\.nii: .*it lies on that of b\.nii: have the two masks changed places"):
        make_pair(image, there, *masks, EVERYWHERE)


def test_a_mask_of_another_dimension_cannot_be_resampled(image: Image, grids: dict[int, Grid]) -> None:
    mask = Image(torch.ones(grids[3].shape, dtype=torch.uint8), grids[3], name="mask.nii")
    with pytest.raises(DataError, match=r"mask\.nii: .*; give a 2-D one$"):
        make_pair(image, image, mask, None, EVERYWHERE)


def test_a_header_rounded_to_float32_is_the_same_grid(image: Image) -> None:
    grid = Grid(image.grid.shape, image.grid.affine.float().double())
    mask = Image(torch.ones(grid.shape, dtype=torch.uint8), grid)
    assert make_pair(image, image, mask, None, EVERYWHERE).fixed_mask is mask


@pytest.mark.parametrize("value", [0, -1])
def test_masks_have_voxels_above_0(image: Image, value: int) -> None:
    empty = Image(torch.full(image.data.shape, value, dtype=torch.int16), image.grid, name="empty.nii")
    with pytest.raises(DataError, match=r"empty\.nii: expected a mask with voxels above 0"):
        make_pair(image, image, None, empty, EVERYWHERE)


def test_masks_have_more_than_a_few_voxels(image: Image) -> None:
    few = torch.zeros_like(image.data)
    few[3, 1:4] = 1
    with pytest.raises(DataError, match=r"mask\.nii: expected a mask over .* found 3 voxels above 0"):
        make_pair(image, image, mask_of(image, few), None, EVERYWHERE)


@pytest.mark.parametrize("settings", [EVERYWHERE, ImageSettings(window=(0.0, 50.0))])
def test_a_mask_over_background_is_refused(settings: ImageSettings) -> None:
    """Say, a mask of another patient's: the image is its minimum all over it."""
    data = torch.zeros(30, 20)
    data[15:25, 5:15] = 7
    image = Image(data, Grid.from_spacing((30, 20), (1.0, 1.0)), name="a.nii")
    away, at_the_rim = torch.zeros(30, 20), torch.zeros(30, 20)
    away[2:8], at_the_rim[10:15] = 1, 1
    with pytest.raises(DataError, match=r"mask\.nii: expected a mask over .* a\.nii is 0, its least value"):
        make_pair(image, image, mask_of(image, away), None, settings)
    assert make_pair(image, image, mask_of(image, at_the_rim), None, settings).fixed_mask is not None


def test_the_set_window_serves_both(image: Image) -> None:
    pair = make_pair(image, image, None, None, ImageSettings(window=(-1000.0, 200.0)))
    assert pair.fixed_window == pair.moving_window == (-1000.0, 200.0)


def test_windows_are_percentiles_of_the_foreground() -> None:
    """Background (the minimum) does not count, however large; neither do voxels outside the mask."""
    grid = Grid.from_spacing((100, 101), [1.0, 1.0])
    data = torch.zeros(100, 101)
    data[:, 0] = torch.linspace(100.0, 200.0, 100)
    data[:, 1] = 5000.0
    image = Image(data, grid)
    mask = torch.ones(100, 101)
    mask[:, 1] = 0
    pair = make_pair(image, image, Image(mask, grid), None, ImageSettings(percentiles=(10.0, 90.0)))
    expected = torch.quantile(torch.linspace(100.0, 200.0, 100).double(), torch.tensor([0.1, 0.9]).double())
    torch.testing.assert_close(torch.tensor(pair.fixed_window).double(), expected, rtol=1e-6, atol=0)
    assert pair.moving_window[1] == 5000.0


def test_an_image_of_two_values_has_a_window(image: Image) -> None:
    binary = image.with_data((image.data > 10).to(torch.uint8))
    assert make_pair(binary, binary, None, None, EVERYWHERE).fixed_window == (0.0, 1.0)


def test_lungs_are_found_in_ct(ct: PhantomPair) -> None:
    """Where none are given; a given mask stays."""
    settings = ImageSettings(window=(-1000.0, 200.0), mask="lungs")
    pair = make_pair(ct.fixed, ct.moving, None, ct.moving_mask, settings)
    assert pair.moving_mask is ct.moving_mask
    found, truth = pair.fixed_mask, ct.fixed_mask
    assert found is not None
    points = truth.grid.voxel_centres()
    voxel = found.grid.world_to_voxel_points(points).round().long()
    inside = ((voxel >= 0) & (voxel < torch.tensor(found.grid.shape))).all(dim=-1)
    guess = torch.zeros(truth.data.shape, dtype=torch.bool)
    guess[inside] = found.data[tuple(voxel[inside].T)] > 0
    real = truth.data > 0
    dice = 2 * float((guess & real).sum()) / float(guess.sum() + real.sum())
    assert dice > 0.9


def test_no_lungs_is_a_clear_error(image: Image) -> None:
    with pytest.raises(DataError, match=r"a\.nii: found no lungs .*mask"):
        make_pair(image, image, None, None, ImageSettings(mask="lungs"))


def test_foreground_is_what_lies_above_the_minimum(image: Image) -> None:
    data = image.data.clamp(min=10)
    pair = make_pair(image.with_data(data), image, None, None, ImageSettings(mask="foreground"))
    assert pair.fixed_mask is not None
    assert torch.equal(pair.fixed_mask.data > 0, data > 10)


def test_carrying_the_moving_image_moves_its_mask_too(image: Image) -> None:
    mask = mask_of(image, image.data > 3)
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[:2, 2] = torch.tensor([3.0, -4.0])
    pair = make_pair(image, image, mask, mask, EVERYWHERE).with_moving_transformed(matrix)
    shift = torch.tensor([3.0, -4.0], dtype=torch.float64)
    assert pair.moving_mask is not None and pair.fixed_mask is not None
    torch.testing.assert_close(pair.moving.grid.origin, image.grid.origin + shift)
    torch.testing.assert_close(pair.moving_mask.grid.origin, image.grid.origin + shift)
    assert pair.fixed.grid is image.grid and pair.fixed_mask.grid is image.grid
    assert pair.moving.data is image.data


def test_masks_may_be_bool(image: Image) -> None:
    mask = replace(mask_of(image, image.data > 3), data=image.data > 3)
    assert make_pair(image, image, mask, mask, EVERYWHERE).fixed_mask is mask
