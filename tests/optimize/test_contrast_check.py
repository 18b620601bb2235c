"""Matching of intensities steps aside where one image does not predict the other."""

from dataclasses import replace

import pytest
import torch

from nephi.errors import DataWarning
from nephi.fields import FieldSettings, build_fields
from nephi.geometry import Grid
from nephi.images import Image
from nephi.optimize.contrast_check import checked_matching, with_mind_channels
from nephi.optimize.fit import _with_matched_intensities
from nephi.optimize.intensity_matching import explained_fraction
from nephi.preparation.pair import Channel, Pair, make_pair
from nephi.settings import Settings, preset, with_similarity
from nephi.settings.registration import ImageSettings


def pair_of(fixed: torch.Tensor, moving: torch.Tensor) -> Pair:
    grid = Grid.from_spacing(fixed.shape, (1.5, 1.0))
    return make_pair(Image(fixed, grid, name="f"), Image(moving, grid, name="m"), None, None, ImageSettings())


def waves(period: float) -> torch.Tensor:
    axes = torch.meshgrid(torch.arange(60.0), torch.arange(50.0), indexing="ij")
    return 0.5 + 0.24 * (torch.sin(axes[0] / period) + torch.cos(axes[1] / (0.8 * period)))


@pytest.fixture(scope="module")
def multimodal() -> Settings:
    return preset("multimodal")


def test_contrast_that_can_be_carried_over_is_matched(multimodal: Settings) -> None:
    values = waves(9.0)
    pair = pair_of(values, torch.cos(5 * values))
    assert explained_fraction(pair, 1.0, torch.Generator().manual_seed(0)) > 0.8
    assert checked_matching(pair, multimodal, 0) is multimodal


def test_unrelated_intensities_are_compared_by_mind(multimodal: Settings) -> None:
    pair = pair_of(waves(9.0), waves(4.0))
    with pytest.warns(DataWarning, match=r"f and m: the intensities of one image predict \d+ % .* compared by MIND"):
        settings = checked_matching(pair, multimodal, 0)
    assert settings.objective.similarity == "mind" and settings.objective.radius == 2
    assert not settings.optimization.match_intensities
    assert (settings.affine, settings.image) == (multimodal.affine, multimodal.image)
    unit = 60 * 1.5 / 256  # the longest edge, in the units of `generic`
    assert settings.levels[0].smoothing == pytest.approx(preset("generic").levels[0].smoothing * unit)


def test_the_channel_that_is_predicted_worst_counts(multimodal: Settings) -> None:
    values = waves(9.0)
    first, second = pair_of(values, torch.cos(5 * values)), pair_of(values, waves(4.0))
    pair = replace(first, channels=(Channel(second, multimodal),))
    with pytest.warns(DataWarning, match="they are not matched, but compared by MIND"):
        settings = checked_matching(pair, multimodal, 0)
    (channel,) = with_mind_channels(pair).channels
    assert channel.images is second
    assert settings.objective.similarity == channel.settings.objective.similarity == "mind"
    assert channel.settings.objective.radius == settings.objective.radius


def test_settings_without_matching_are_not_checked(multimodal: Settings) -> None:
    settings = replace(multimodal, optimization=replace(multimodal.optimization, match_intensities=False))
    assert checked_matching(pair_of(waves(9.0), waves(4.0)), settings, 0) is settings


def test_settings_of_the_user_that_are_replaced_are_named(multimodal: Settings) -> None:
    """Those of the preset are not named."""
    pair = pair_of(waves(9.0), waves(4.0))
    changed = replace(multimodal, objective=replace(multimodal.objective, points=77), levels=multimodal.levels[:1])
    with pytest.warns(
        DataWarning, match=r"settings of objective, levels are not used: optimization\.match_intensities"
    ):
        checked_matching(pair, changed, 0)
    with pytest.warns(DataWarning, match=r"similarity mind\)$"):
        checked_matching(pair, multimodal, 0)


def test_channels_that_accept_any_contrast_are_neither_checked_nor_replaced(multimodal: Settings) -> None:
    values = waves(9.0)
    first, second = pair_of(values, torch.cos(5 * values)), pair_of(values, waves(4.0))
    own = with_similarity(multimodal, "nmi")
    pair = replace(first, channels=(Channel(second, own),))
    assert checked_matching(pair, multimodal, 0) is multimodal
    assert with_mind_channels(pair).channels == pair.channels
    assert checked_matching(second, own, 0) is own


def test_channels_that_accept_any_contrast_keep_their_intensities(multimodal: Settings) -> None:
    values = waves(9.0)
    images = pair_of(values, torch.cos(5 * values))
    pair = replace(images, channels=(Channel(images, with_similarity(multimodal, "mind")), Channel(images, multimodal)))
    fields = build_fields(FieldSettings(spacings=(40.0, 20.0)), images.fixed.grid, torch.Generator().manual_seed(0))
    matched = _with_matched_intensities(pair, "lncc2", fields, 1.0, torch.Generator().manual_seed(0))
    levels = [(each.fixed_levels, each.moving_levels) for each in (images, *(c.images for c in matched.channels))]
    assert levels[1] == levels[0] and levels[2] != levels[0]
    kept = _with_matched_intensities(images, "nmi + mse", fields, 1.0, torch.Generator().manual_seed(0))
    assert (kept.fixed_levels, kept.moving_levels) == levels[0]
