"""Validation of two images and their masks; windows and segmentation."""

from dataclasses import replace

import pytest
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.phantoms import PhantomPair, lung_phantom
from nephi.preparation.pair import make_pair
from nephi.settings.registration import ImageSettings

NO_MASK = ImageSettings()


@pytest.fixture(scope="module")
def ct() -> PhantomPair:
    return lung_phantom(seed=1, motion=15.0, shape=(48, 36, 40))


@pytest.fixture
def image(grids: dict[int, Grid]) -> Image:
    data = torch.arange(35.0).reshape(7, 5)
    return Image(data, grids[2], name="a.nii")


def mask_of(image: Image, inside: torch.Tensor, name: str = "mask.nii") -> Image:
    return Image(inside.to(torch.uint8), image.grid, name=name)


def with_voxel(image: Image, value: float, name: str) -> Image:
    data = image.data.clone()
    data[3, 2] = value
    return Image(data, image.grid, name=name)


def other_grids(grid: Grid) -> dict[str, Grid]:
    shifted, spaced = grid.affine.clone(), grid.affine.clone()
    shifted[0, -1] += 0.5
    spaced[:-1, 0] *= 1.01
    flipped = grid.affine.clone()
    flipped[:-1, 0] *= -1
    return {
        "shifted": Grid(grid.shape, shifted),
        "spaced": Grid(grid.shape, spaced),
        "flipped": Grid(grid.shape, flipped),
        "smaller": Grid((grid.shape[0] - 1, *grid.shape[1:]), grid.affine),
        "permuted": Grid(tuple(reversed(grid.shape)), grid.affine),
    }


def test_valid_images_are_kept_unchanged(image: Image) -> None:
    mask = mask_of(image, image.data > 10)
    pair = make_pair(image, image, mask, None, NO_MASK)
    assert pair.fixed is image and pair.moving is image and pair.fixed_mask is mask and pair.moving_mask is None


def test_images_of_different_dimension_are_refused(image: Image, ct: PhantomPair) -> None:
    with pytest.raises(DataError, match=r"same dimension, got a\.nii \(2-D\) and moving phantom \(3-D\)"):
        make_pair(image, ct.moving, None, None, NO_MASK)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_voxels_are_refused(image: Image, value: float) -> None:
    bad = with_voxel(image, value, "bad.nii")
    for fixed, moving in ((bad, image), (image, bad)):
        with pytest.raises(DataError, match=r"bad\.nii: .*found 1 NaN or infinite, the first at \(3, 2\)"):
            make_pair(fixed, moving, None, None, NO_MASK)


def test_constant_images_are_refused(image: Image) -> None:
    flat = Image(torch.full_like(image.data, 7), image.grid, name="flat.nii")
    with pytest.raises(DataError, match=r"flat\.nii: .*found the constant 7"):
        make_pair(image, flat, None, None, NO_MASK)


@pytest.mark.parametrize("change", ["shifted", "spaced", "flipped", "smaller", "permuted"])
def test_masks_on_other_grids_are_refused(image: Image, change: str) -> None:
    grid = other_grids(image.grid)[change]
    mask = Image(torch.ones(grid.shape, dtype=torch.uint8), grid, name="mask.nii")
    for masks in ((mask, None), (None, mask)):
        with pytest.raises(DataError, match=r"mask\.nii: expected a mask on the grid of a\.nii .*nephi apply"):
            make_pair(image, image, *masks, NO_MASK)


def test_exchanged_masks_are_recognized(image: Image) -> None:
    other = replace(image, grid=other_grids(image.grid)["shifted"], name="b.nii")
    masks = [Image(torch.ones(i.grid.shape, dtype=torch.uint8), i.grid, name="mask.nii") for i in (other, image)]
    with pytest.raises(DataError, match=r"mask\.nii: .*it has the grid of b\.nii: were the two masks exchanged"):
        make_pair(image, other, *masks, NO_MASK)


def test_mask_of_another_dimension_is_refused(image: Image, grids: dict[int, Grid]) -> None:
    mask = Image(torch.ones(grids[3].shape, dtype=torch.uint8), grids[3], name="mask.nii")
    with pytest.raises(DataError, match=r"mask\.nii: .*; give a 2-D one$"):
        make_pair(image, image, mask, None, NO_MASK)


def test_grid_rounded_to_float32_counts_as_equal(image: Image) -> None:
    grid = Grid(image.grid.shape, image.grid.affine.float().double())
    mask = Image(torch.ones(grid.shape, dtype=torch.uint8), grid)
    assert make_pair(image, image, mask, None, NO_MASK).fixed_mask is mask


@pytest.mark.parametrize("value", [0, -1])
def test_empty_masks_are_refused(image: Image, value: int) -> None:
    empty = Image(torch.full(image.data.shape, value, dtype=torch.int16), image.grid, name="empty.nii")
    with pytest.raises(DataError, match=r"empty\.nii: expected a mask with voxels above 0"):
        make_pair(image, image, None, empty, NO_MASK)


def test_masks_of_very_few_voxels_are_refused(image: Image) -> None:
    few = torch.zeros_like(image.data)
    few[3, 1:4] = 1
    with pytest.raises(DataError, match=r"mask\.nii: expected a mask of the structures .* found 3 voxel\(s\) above 0"):
        make_pair(image, image, mask_of(image, few), None, NO_MASK)


@pytest.mark.parametrize("settings", [NO_MASK, ImageSettings(window=(0.0, 50.0))])
def test_mask_over_background_is_refused(settings: ImageSettings) -> None:
    """For example the mask of another patient: the image has its minimum everywhere in it."""
    data = torch.zeros(30, 20)
    data[15:25, 5:15] = 7
    image = Image(data, Grid.from_spacing((30, 20), (1.0, 1.0)), name="a.nii")
    outside, touching = torch.zeros(30, 20), torch.zeros(30, 20)
    outside[2:8], touching[10:15] = 1, 1
    with pytest.raises(DataError, match=r"mask\.nii: expected a mask of .* only the minimum of a\.nii, 0, inside"):
        make_pair(image, image, mask_of(image, outside), None, settings)
    assert make_pair(image, image, mask_of(image, touching), None, settings).fixed_mask is not None


def test_window_of_the_settings_applies_to_both_images(image: Image) -> None:
    pair = make_pair(image, image, None, None, ImageSettings(window=(-1000.0, 200.0)))
    assert pair.fixed_window == pair.moving_window == (-1000.0, 200.0)


def test_windows_are_percentiles_of_the_foreground() -> None:
    """Background, which is the minimum, and voxels outside the mask are ignored."""
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


def test_window_of_an_image_of_two_values(image: Image) -> None:
    binary = image.with_data((image.data > 10).to(torch.uint8))
    assert make_pair(binary, binary, None, None, NO_MASK).fixed_window == (0.0, 1.0)


def test_lungs_are_segmented_in_ct(ct: PhantomPair) -> None:
    """If no mask is given; a given mask is kept."""
    settings = ImageSettings(window=(-1000.0, 200.0), mask="lungs")
    pair = make_pair(ct.fixed, ct.moving, None, ct.moving_mask, settings)
    assert pair.moving_mask is ct.moving_mask
    lungs, truth = pair.fixed_mask, ct.fixed_mask
    assert lungs is not None
    points = truth.grid.voxel_centres()
    voxel = lungs.grid.world_to_voxel_points(points).round().long()
    inside = ((voxel >= 0) & (voxel < torch.tensor(lungs.grid.shape))).all(dim=-1)
    segmented = torch.zeros(truth.data.shape, dtype=torch.bool)
    segmented[inside] = lungs.data[tuple(voxel[inside].T)] > 0
    expected = truth.data > 0
    dice = 2 * float((segmented & expected).sum()) / float(segmented.sum() + expected.sum())
    assert dice > 0.9


def test_image_without_lungs_is_refused(image: Image) -> None:
    with pytest.raises(DataError, match=r"a\.nii: expected lungs .*mask"):
        make_pair(image, image, None, None, ImageSettings(mask="lungs"))


def test_foreground_is_above_the_minimum(image: Image) -> None:
    data = image.data.clamp(min=10)
    pair = make_pair(image.with_data(data), image, None, None, ImageSettings(mask="foreground"))
    assert pair.fixed_mask is not None
    assert torch.equal(pair.fixed_mask.data > 0, data > 10)


def test_transforming_the_moving_image_also_transforms_its_mask(image: Image) -> None:
    mask = mask_of(image, image.data > 3)
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[:2, 2] = torch.tensor([3.0, -4.0])
    pair = make_pair(image, image, mask, mask, NO_MASK).with_moving_transformed(matrix)
    shift = torch.tensor([3.0, -4.0], dtype=torch.float64)
    assert pair.moving_mask is not None and pair.fixed_mask is not None
    torch.testing.assert_close(pair.moving.grid.origin, image.grid.origin + shift)
    torch.testing.assert_close(pair.moving_mask.grid.origin, image.grid.origin + shift)
    assert pair.fixed.grid is image.grid and pair.fixed_mask.grid is image.grid
    assert pair.moving.data is image.data


def test_masks_may_be_bool(image: Image) -> None:
    mask = replace(mask_of(image, image.data > 3), data=image.data > 3)
    assert make_pair(image, image, mask, mask, NO_MASK).fixed_mask is mask
