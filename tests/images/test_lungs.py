"""Test the segmentation of lungs on phantoms with known masks."""

import pytest
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image, find_lungs, resample
from nephi.io import read_image
from nephi.phantoms import PhantomPair, lung_phantom


@pytest.fixture(scope="module")
def phantom() -> PhantomPair:
    return lung_phantom(shape=(56, 42, 48))


def overlap(mask: Image, truth: Image) -> float:
    a = resample(mask, truth.grid, lambda x: x, "nearest").data > 0
    b = truth.data > 0
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_lungs_of_the_phantom(phantom, side) -> None:
    mask = find_lungs(getattr(phantom, side))
    assert mask.data.dtype == torch.uint8 and set(mask.data.unique().tolist()) == {0, 1}
    assert overlap(mask, getattr(phantom, f"{side}_mask")) > 0.96


def test_crop_through_the_lungs(phantom) -> None:
    def cropped(image: Image) -> Image:
        data = image.data[12:45, 9:34, 10:38]
        affine = image.grid.affine.clone()
        affine[:-1, -1] = image.grid.voxel_to_world_points(torch.tensor([12, 9, 10]))
        return Image(data, Grid(tuple(data.shape), affine))

    assert overlap(find_lungs(cropped(phantom.fixed)), cropped(phantom.fixed_mask)) > 0.95


def test_lungs_of_an_axial_slice(phantom) -> None:
    grid = Grid.from_spacing(phantom.fixed.grid.shape[:2], phantom.fixed.grid.spacing[:2].tolist())
    image, mask = (Image(i.data[..., 24], grid) for i in (phantom.fixed, phantom.fixed_mask))
    assert overlap(find_lungs(image), mask) > 0.95


@pytest.mark.parametrize("value", [40, -1000], ids=["tissue", "air"])
def test_images_without_lungs_are_refused(value) -> None:
    grid = Grid.from_spacing((40, 40, 40), (4.0, 4.0, 4.0))
    image = Image(torch.full(grid.shape, value, dtype=torch.int16), grid, name="abdomen")
    with pytest.raises(DataError, match="abdomen: expected lungs"):
        find_lungs(image)


def test_lungs_with_overlapping_bounding_boxes() -> None:
    grid = Grid.from_spacing((60, 60, 20), (3.0, 3.0, 3.0))
    data = torch.full(grid.shape, 40, dtype=torch.int16)
    data[5:35, 30:45, 4:16] = data[45:55, 5:55, 4:16] = data[20:55, 5:15, 4:16] = -800
    assert overlap(find_lungs(Image(data, grid)), Image(data < 0, grid)) > 0.9


def test_bowel_gas_is_no_lung() -> None:
    """A sphere of 30 mm with the density of lung."""
    grid = Grid.from_spacing((40, 40, 40), (4.0, 4.0, 4.0))
    sphere = (grid.voxel_centres() - 80.0).norm(dim=-1) < 15
    image = Image(torch.where(sphere, -800, 40).short(), grid)
    with pytest.raises(DataError, match="expected lungs"):
        find_lungs(image)


def test_emphysematous_lungs(phantom) -> None:
    """Lungs at about -940 HU are distinguished from the air around the body."""
    data = phantom.fixed.data.clone()
    inside = phantom.fixed_mask.data > 0
    data[inside & (data < -600)] = -945
    assert overlap(find_lungs(Image(data, phantom.fixed.grid)), phantom.fixed_mask) > 0.95


def test_air_at_the_edge_of_a_crop_is_no_lung(phantom) -> None:
    corners = (phantom.fixed_mask.data > 0).nonzero()
    low, high = (corners.amin(dim=0) - 3).clamp(min=0).tolist(), (corners.amax(dim=0) + 4).tolist()
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    spacing = phantom.fixed.grid.spacing.tolist()
    image, mask = (
        Image(i.data[box], Grid.from_spacing(i.data[box].shape, spacing)) for i in (phantom.fixed, phantom.fixed_mask)
    )
    assert overlap(find_lungs(image), mask) > 0.95


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_lungs_of_a_real_ct(shared_data, side) -> None:
    folder = shared_data / "lung_ct"
    mask = read_image(folder / f"{side}_mask.mha")
    assert overlap(find_lungs(read_image(folder / f"{side}.mha")), mask) > 0.95
