"""One image in the contrast of the other."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi.fields import FieldPair, FieldSettings, build_fields
from nephi.geometry import Grid
from nephi.images import Image
from nephi.optimize.intensity_matching import fit_curve, match_intensities
from nephi.preparation.pair import Pair, make_pair
from nephi.settings.registration import ImageSettings

SETTINGS = ImageSettings(percentiles=(0.0, 100.0))


def rising_and_falling(values: Tensor) -> Tensor:
    return 0.5 + 0.4 * torch.cos(7 * values)


def random(count: int = 5000) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(0))


def test_a_curve_that_rises_and_falls_is_found() -> None:
    source = random()
    curve = fit_curve(source, rising_and_falling(source))
    assert curve.explained > 0.999
    places = torch.linspace(0, 1, 100)
    torch.testing.assert_close(curve(places), rising_and_falling(places), rtol=0, atol=0.02)
    assert fit_curve(rising_and_falling(source), source).explained < 0.5


def test_intensities_that_tell_nothing_predict_the_mean() -> None:
    source, target = random(), random().flip(0)
    curve = fit_curve(source, target)
    assert curve.explained < 0.02
    torch.testing.assert_close(curve(source), target.mean().expand(len(source)), rtol=0, atol=0.1)


def test_images_without_contrast_are_left_finite() -> None:
    for source, target in ((torch.zeros(9), random(9)), (torch.zeros(9), torch.zeros(9))):
        assert torch.isfinite(fit_curve(source, target)(random(9))).all()


@pytest.fixture(scope="module")
def head() -> Image:
    """A smooth image from 0 to 1 in a box, and background of 0 around it."""
    axes = torch.meshgrid(torch.arange(60.0), torch.arange(50.0), indexing="ij")
    values = 0.5 + 0.24 * (torch.sin(axes[0] / 5) + torch.cos(axes[1] / 4))
    values[:8], values[:, :8] = 0, 0
    return Image(values, Grid(values.shape, torch.eye(3, dtype=torch.float64)))


def aligned(fixed: Image, moving: Image) -> tuple[Pair, FieldPair]:
    """The pair, and fields that are the identity."""
    masks = [image.with_data((image.data > 0).to(torch.uint8)) for image in (fixed, moving)]
    generator = torch.Generator().manual_seed(0)
    pair = make_pair(fixed, moving, masks[0], masks[1], SETTINGS)
    return pair, build_fields(FieldSettings(), fixed.grid, generator)


def curved(image: Image) -> Image:
    return image.with_data(torch.where(image.data > 0, rising_and_falling(image.data), 0.0))


@pytest.mark.parametrize("swapped", [False, True])
def test_the_image_that_can_predict_is_redrawn(swapped: bool, head: Image) -> None:
    images = (curved(head), head) if swapped else (head, curved(head))
    pair, fields = aligned(*images)
    found = match_intensities(pair, fields, 0.0, torch.Generator().manual_seed(0))
    kept, drawn = (found.fixed_levels, found.moving_levels) if swapped else (found.moving_levels, found.fixed_levels)
    assert kept is (pair.fixed_levels if swapped else pair.moving_levels)
    low, high = kept.window
    expected = ((curved(head).data - low) / (high - low)).clamp(0, 1)
    gap = (drawn.image.data / drawn.window[1] - expected).abs()
    assert float(gap[12:-4, 12:-4].mean()) < 0.03 and float(gap.max()) < 0.2
    assert bool((drawn.image.data[head.data == 0] == 0).all())
    assert found.fixed is pair.fixed and found.moving is pair.moving


def test_noise_around_a_head_stays_background(head: Image) -> None:
    """Where masks are given: the curve was fitted to nothing as dark, and the dark end would become bright."""
    outside = head.data == 0
    noise = 0.02 * random(head.grid.size).view(head.grid.shape)
    noisy, inverted = (head.with_data(torch.where(outside, noise, data)) for data in (head.data, 1.1 - head.data))
    pair = make_pair(noisy, inverted, *(head.with_data((~outside).to(torch.uint8)) for _ in range(2)), SETTINGS)
    _, fields = aligned(head, curved(head))
    found = match_intensities(pair, fields, 0.0, torch.Generator().manual_seed(0))
    levels = found.fixed_levels if found.fixed_levels is not pair.fixed_levels else found.moving_levels
    assert levels.window[0] == 0 and float(levels.image.data[outside].float().mean()) < 0.05 * levels.window[1]


def test_images_that_do_not_meet_stay_as_they_are(head: Image) -> None:
    pair, fields = aligned(head, curved(head))
    shift = torch.eye(3, dtype=torch.float64)
    shift[0, 2] = 500.0
    apart = pair.with_moving_transformed(shift)
    assert match_intensities(apart, fields, 0.0, torch.Generator().manual_seed(0)) is apart


def test_without_masks_all_points_tell(head: Image) -> None:
    pair, fields = aligned(head, curved(head))
    bare = replace(pair, fixed_mask=None, moving_mask=None)
    found = match_intensities(bare, fields, 1.0, torch.Generator().manual_seed(0))
    assert found.fixed_levels is not bare.fixed_levels and found.moving_levels is bare.moving_levels
