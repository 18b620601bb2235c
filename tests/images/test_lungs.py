"""Lungs found in the phantom, whose masks are known."""

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


def overlap(found: Image, truth: Image) -> float:
    a = resample(found, truth.grid, lambda x: x, "nearest").data > 0
    b = truth.data > 0
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_lungs_of_the_phantom(phantom, side) -> None:
    found = find_lungs(getattr(phantom, side))
    assert found.data.dtype == torch.uint8 and set(found.data.unique().tolist()) == {0, 1}
    assert overlap(found, getattr(phantom, f"{side}_mask")) > 0.96


def test_crop_through_the_lungs(phantom) -> None:
    def cropped(image: Image) -> Image:
        data = image.data[12:45, 9:34, 10:38]
        affine = image.grid.affine.clone()
        affine[:-1, -1] = image.grid.voxel_to_world_points(torch.tensor([12, 9, 10]))
        return Image(data, Grid(tuple(data.shape), affine))

    assert overlap(find_lungs(cropped(phantom.fixed)), cropped(phantom.fixed_mask)) > 0.95


def test_slice(phantom) -> None:
    """A 2-D image: an axial slice."""
    grid = Grid.from_spacing(phantom.fixed.grid.shape[:2], phantom.fixed.grid.spacing[:2].tolist())
    image, mask = (Image(i.data[..., 24], grid) for i in (phantom.fixed, phantom.fixed_mask))
    assert overlap(find_lungs(image), mask) > 0.95


@pytest.mark.parametrize("value", [40, -1000], ids=["tissue", "air"])
def test_no_lungs(value) -> None:
    grid = Grid.from_spacing((40, 40, 40), (4.0, 4.0, 4.0))
    image = Image(torch.full(grid.shape, value, dtype=torch.int16), grid, name="abdomen")
    with pytest.raises(DataError, match="abdomen: found no lungs"):
        find_lungs(image)


def test_lungs_that_interlock() -> None:
    """One reaches into the nook, and so into the box, of the other."""
    grid = Grid.from_spacing((60, 60, 20), (3.0, 3.0, 3.0))
    data = torch.full(grid.shape, 40, dtype=torch.int16)
    data[5:35, 30:45, 4:16] = data[45:55, 5:55, 4:16] = data[20:55, 5:15, 4:16] = -800
    assert overlap(find_lungs(Image(data, grid)), Image(data < 0, grid)) > 0.9


def test_bowel_gas_is_no_lung() -> None:
    """A bubble of 30 mm with the density of lung."""
    grid = Grid.from_spacing((40, 40, 40), (4.0, 4.0, 4.0))
    near = (grid.voxel_centres() - 80.0).norm(dim=-1) < 15
    image = Image(torch.where(near, -800, 40).short(), grid)
    with pytest.raises(DataError, match="found no lungs"):
        find_lungs(image)


def test_emphysema(phantom) -> None:
    """Lungs at about -940 HU, emptier than healthy ones, are still told from the air around the body."""
    data = phantom.fixed.data.clone()
    inside = phantom.fixed_mask.data > 0
    data[inside & (data < -600)] = -945
    assert overlap(find_lungs(Image(data, phantom.fixed.grid)), phantom.fixed_mask) > 0.95


def test_slivers_of_air_at_a_crop(phantom) -> None:
    """A crop that leaves a little air beside the chest: the air is no lung."""
    corners = (phantom.fixed_mask.data > 0).nonzero()
    low, high = (corners.amin(dim=0) - 3).clamp(min=0).tolist(), (corners.amax(dim=0) + 4).tolist()
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    spacing = phantom.fixed.grid.spacing.tolist()
    image, mask = (
        Image(i.data[box], Grid.from_spacing(i.data[box].shape, spacing)) for i in (phantom.fixed, phantom.fixed_mask)
    )
    assert overlap(find_lungs(image), mask) > 0.95


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_real_lungs(shared_data, side) -> None:
    folder = shared_data / "lung_ct"
    mask = read_image(folder / f"{side}_mask.mha")
    assert overlap(find_lungs(read_image(folder / f"{side}.mha")), mask) > 0.95
