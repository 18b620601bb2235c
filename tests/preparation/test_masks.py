"""Masks on other grids than their images, with the remedy for each cause; implausible masks."""

from __future__ import annotations

import re
import shlex
import warnings
from dataclasses import replace

import pytest
import torch

from nephi.errors import DataError, DataWarning, PlausibilityWarning
from nephi.geometry import Grid
from nephi.images import Image, resample
from nephi.phantoms.grids import rotation
from nephi.preparation.mask_placement import require_mask_inside, require_placement
from nephi.preparation.masks import compare_masks, require_usable_mask

SHAPE = (20, 18, 15)


@pytest.fixture
def image() -> Image:
    """A cube on an oblique, anisotropic, left-handed grid."""
    affine = torch.eye(4).double()
    affine[:3, :3] = rotation(0.2, -0.1, 0.3) @ torch.diag(torch.tensor([-2.0, 2.0, 2.5]).double())
    affine[:3, 3] = torch.tensor([30.0, -50.0, 200.0]).double()
    data = torch.zeros(SHAPE)
    data[5:12, 4:13, 3:10] = 100
    return Image(data, Grid(SHAPE, affine), name="a.nii")


def mask_on(image: Image, grid: Grid) -> Image:
    return Image((image.data > 50).to(torch.uint8), grid, name="mask.nii")


def translated(grid: Grid, *by: float) -> Grid:
    affine = grid.affine.clone()
    affine[:-1, -1] += torch.tensor(by).double()
    return Grid(grid.shape, affine)


def error_message(mask: Image, image: Image) -> str:
    with pytest.raises(DataError, match=r"mask\.nii: expected a mask on the grid of a\.nii") as caught:
        require_placement(mask, image, image)
    return str(caught.value)


@pytest.mark.parametrize("placement", ["identity", "spacing", "lps", "centred"])
def test_remedy_for_a_lost_header_is_to_copy_that_of_the_image(placement: str, image: Image) -> None:
    """As numpy, SimpleITK and nibabel place arrays without a header. The suggested command has valid arguments."""
    spacing = [1.0] * 3 if placement == "identity" else image.grid.spacing.tolist()
    grid = Grid.from_spacing(SHAPE, spacing)
    if placement == "lps":
        grid = grid.transformed(torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0])).double())
    if placement == "centred":
        grid = translated(grid, *(-grid.centre_world()).tolist())
    text = error_message(mask_on(image, grid), image)
    assert "its header was lost; copy the image's header by `nephi apply" in text
    command = shlex.split(re.findall(r"`(.*?)`", text)[0])
    assert command[command.index("--header-from") + 1] == "a.nii" and text.count("`") == 2


def test_remedies_for_a_shifted_grid_of_the_same_shape_are_both(image: Image) -> None:
    text = error_message(mask_on(image, translated(image.grid, 1.0, 0.0, 0.0)), image)
    assert (
        "up to 1 mm away; if its header was lost or changed, copy" in text
        and "if its header is right, resample" in text
    )
    assert "--header-from" in error_message(mask_on(image, translated(image.grid, 500.0, 0.0, 0.0)), image)


def test_remedy_for_another_grid_is_to_resample(image: Image) -> None:
    affine = image.grid.affine.clone()
    affine[:3, :3] /= 2
    finer = Grid(tuple(2 * n for n in SHAPE), affine)
    mask = resample(mask_on(image, image.grid), finer, lambda x: x, "nearest")
    text = error_message(replace(mask, name="mask.nii"), image)
    assert "resample it by `nephi apply -t identity -i mask.nii -r a.nii --interpolation label -o MASK`" in text
    assert "header" not in text.split(";")[-1]
    require_mask_inside(mask, image)
    partly = replace(mask, grid=translated(finer, 24.0, 0.0, 0.0), name="mask.nii")
    assert re.search("only [1-4]?[0-9] % of its voxels above 0 lie inside", error_message(partly, image))
    with pytest.warns(PlausibilityWarning, match="mask.nii: only .* lie inside a.nii"):
        require_mask_inside(partly, image)
    away = replace(mask, grid=translated(finer, 500.0, 0.0, 0.0), name="mask.nii")
    assert "none of its voxels above 0 lies inside the image" in error_message(away, image)
    with pytest.raises(DataError, match="none of its voxels"):
        require_mask_inside(away, image)


def test_permuted_axes_without_a_header_are_recognized(image: Image) -> None:
    """As in an array of SimpleITK (z, y, x) that is saved unchanged."""
    data = (image.data > 50).to(torch.uint8).permute(2, 1, 0)
    mask = Image(data, Grid.from_spacing(tuple(data.shape), [1.0] * 3), name="mask.nii")
    assert "its axes are permuted" in error_message(mask, image)


@pytest.mark.parametrize("shift", [0.005, 0.01, 0.04])
def test_differences_far_below_a_voxel_are_accepted(shift: float, image: Image) -> None:
    mask = mask_on(image, translated(image.grid, shift, 0.0, -shift))
    require_usable_mask(mask, image, image)


@pytest.mark.parametrize("change", ["shift", "spacing", "rotation"])
def test_message_shows_enough_digits_to_see_the_difference(change: str, image: Image) -> None:
    affine = image.grid.affine.clone()
    if change == "shift":
        affine[0, 3] += 0.13
    elif change == "spacing":
        affine[:3, 0] *= 1.004
    else:
        affine[:3, :3] = rotation(0.0, 0.0, 0.008) @ affine[:3, :3]
    text = error_message(mask_on(image, Grid(SHAPE, affine)), image)
    first, second = re.findall(r"\(?20x18x15 voxels of (.*?)(?:\), found|, up to)", text)
    assert first != second


def test_masks_of_few_voxels_or_different_volumes_cause_a_warning(image: Image) -> None:
    mask = mask_on(image, image.grid)
    few = mask.with_data(torch.zeros_like(mask.data))
    few.data[6:9, 6:9, 5:8] = 1
    with pytest.warns(PlausibilityWarning, match=r"mask\.nii: .* found 27 of 5400 voxels"):
        require_usable_mask(few, image, image)
    with pytest.warns(PlausibilityWarning, match=r"found 4\.41 ml and 0\.27 ml"):
        compare_masks(mask, few)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare_masks(
            mask, replace(mask, grid=image.grid.transformed(torch.diag(torch.tensor([2.0, 2, 1, 1])).double()))
        )


def test_probabilities_as_a_mask_cause_a_warning(image: Image) -> None:
    mask = mask_on(image, image.grid)
    soft = mask.with_data(mask.data.float().clamp(min=1e-4))  # a background that is not quite 0
    with pytest.warns(
        DataWarning,
        match=r"mask\.nii: .* found fractions, 92% of them below 0\.5: .* all voxels above 0 count as inside",
    ):
        require_usable_mask(soft, image, image)
    rim = mask.data.float()
    rim[4, 4:13, 3:10] = 0.3  # as after linear interpolation
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        require_usable_mask(mask.with_data(rim), image, image)
        require_usable_mask(mask.with_data(mask.data.float() * 255), image, image)
        require_usable_mask(mask.with_data(soft.data.round() * torch.arange(1.0, 19)[:, None]), image, image)  # labels
