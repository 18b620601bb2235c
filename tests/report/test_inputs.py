"""Test the texts about grids, masks and intensities of a pair."""

import pytest
import torch

from nephi.geometry import Grid
from nephi.report.inputs import axis_letters, input_images
from nephi.results import Registration


@pytest.mark.parametrize(
    ("columns", "letters"),
    [
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], "RAS"),
        ([[-1, 0, 0], [0, -1, 0], [0, 0, 1]], "LPS"),
        ([[0, 0, -2], [0, 3, 0], [1, 0, 0]], "IAR"),
        ([[0.9, 0.3, 0], [-0.3, 0.9, 0], [0, 0, 1]], "RAS, oblique"),
    ],
)
def test_axis_letters_name_the_nearest_world_direction(columns: list[list[float]], letters: str) -> None:
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = torch.tensor(columns, dtype=torch.float64).T
    assert axis_letters(Grid((2, 3, 4), affine)) == letters


def test_a_mask_found_in_the_image_is_named_as_such(fitted: Registration, flat_affine: Registration) -> None:
    fixed, moving = input_images(fitted.pair)
    mask = fitted.pair.fixed_mask
    assert mask is not None and (fixed.role, moving.role) == ("fixed", "moving")
    millilitres = float((mask.data > 0).sum()) * float(mask.grid.spacing.prod()) / 1000
    assert fixed.mask_size.endswith(f"{millilitres:.4g} ml")
    assert "in the image" in fixed.mask or fixed.mask == mask.name
    assert [image.mask for image in input_images(flat_affine.pair)] == ["", ""]
