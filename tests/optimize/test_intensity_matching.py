"""Matching of the intensities of two images."""

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


def non_monotonic(values: Tensor) -> Tensor:
    return 0.5 + 0.4 * torch.cos(7 * values)


def random(count: int = 5000) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(0))


def test_non_monotonic_curve_is_recovered() -> None:
    source = random()
    curve = fit_curve(source, non_monotonic(source))
    assert curve.explained > 0.999
    values = torch.linspace(0, 1, 100)
    torch.testing.assert_close(curve(values), non_monotonic(values), rtol=0, atol=0.02)
    assert fit_curve(non_monotonic(source), source).explained < 0.5


def test_unrelated_intensities_predict_the_mean() -> None:
    source, target = random(), random().flip(0)
    curve = fit_curve(source, target)
    assert curve.explained < 0.02
    torch.testing.assert_close(curve(source), target.mean().expand(len(source)), rtol=0, atol=0.1)


def test_curves_of_constant_images_are_finite() -> None:
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
    return image.with_data(torch.where(image.data > 0, non_monotonic(image.data), 0.0))


@pytest.mark.parametrize("swapped", [False, True])
def test_curve_is_applied_to_the_image_that_predicts_the_other(swapped: bool, head: Image) -> None:
    images = (curved(head), head) if swapped else (head, curved(head))
    pair, fields = aligned(*images)
    matched = match_intensities(pair, fields, 0.0, torch.Generator().manual_seed(0))
    kept, mapped = (
        (matched.fixed_levels, matched.moving_levels) if swapped else (matched.moving_levels, matched.fixed_levels)
    )
    assert kept is (pair.fixed_levels if swapped else pair.moving_levels)
    low, high = kept.window
    expected = ((curved(head).data - low) / (high - low)).clamp(0, 1)
    error = (mapped.image.data / mapped.window[1] - expected).abs()
    assert float(error[12:-4, 12:-4].mean()) < 0.03 and float(error.max()) < 0.2
    assert bool((mapped.image.data[head.data == 0] == 0).all())
    assert matched.fixed is pair.fixed and matched.moving is pair.moving


def test_noise_outside_the_mask_stays_background(head: Image) -> None:
    """The curve is fitted to no values as dark as these, and would make them bright."""
    outside = head.data == 0
    noise = 0.02 * random(head.grid.size).view(head.grid.shape)
    noisy, inverted = (head.with_data(torch.where(outside, noise, data)) for data in (head.data, 1.1 - head.data))
    pair = make_pair(noisy, inverted, *(head.with_data((~outside).to(torch.uint8)) for _ in range(2)), SETTINGS)
    _, fields = aligned(head, curved(head))
    matched = match_intensities(pair, fields, 0.0, torch.Generator().manual_seed(0))
    levels = matched.fixed_levels if matched.fixed_levels is not pair.fixed_levels else matched.moving_levels
    assert levels.window[0] == 0 and float(levels.image.data[outside].float().mean()) < 0.05 * levels.window[1]


def test_images_without_overlap_are_unchanged(head: Image) -> None:
    pair, fields = aligned(head, curved(head))
    shift = torch.eye(3, dtype=torch.float64)
    shift[0, 2] = 500.0
    distant = pair.with_moving_transformed(shift)
    assert match_intensities(distant, fields, 0.0, torch.Generator().manual_seed(0)) is distant


def test_without_masks_all_points_are_used(head: Image) -> None:
    pair, fields = aligned(head, curved(head))
    unmasked = replace(pair, fixed_mask=None, moving_mask=None)
    matched = match_intensities(unmasked, fields, 1.0, torch.Generator().manual_seed(0))
    assert matched.fixed_levels is not unmasked.fixed_levels and matched.moving_levels is unmasked.moving_levels
