"""Warnings about intensities that do not match window or units."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi.errors import DataError, PlausibilityWarning
from nephi.geometry import Grid
from nephi.images import Image
from nephi.phantoms import PhantomPair, lung_phantom
from nephi.preparation.intensities import check_intensities
from nephi.settings import preset
from nephi.settings.registration import ImageSettings

Scale = Callable[[Tensor], Tensor]

SCALES: dict[str, Scale] = {
    "HU + 1024": lambda hu: (hu + 1024).clamp(min=0),
    "0 to 1": lambda hu: (hu.clamp(-1000, 1000) + 1000) / 2000,
    "0 to 255": lambda hu: ((hu.clamp(-1000, 1000) + 1000) / 2000 * 255).round(),
    "HU / 1000": lambda hu: hu / 1000,
    "-1 to 1": lambda hu: hu.clamp(-1000, 1000) / 1000,
    "mean 0, variance 1": lambda hu: (hu - hu.mean()) / hu.std(),
}
PRESETS = ("lung-ct", "lung-ct-fast", "lung-ct-best", "ct", "idir", "nephi-eccv2024")


@pytest.fixture(scope="module")
def ct() -> PhantomPair:
    return lung_phantom(seed=1, motion=15.0, shape=(48, 36, 40))


def messages(image: Image, mask: Image | None, settings: ImageSettings) -> list[str]:
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        check_intensities(image, mask, settings)
    assert all(w.category is PlausibilityWarning for w in issued)
    return [str(w.message) for w in issued]


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("name", PRESETS)
def test_hounsfield_units_cause_no_warning(name: str, masked: bool, ct: PhantomPair) -> None:
    padded = ct.fixed.data.clone()
    padded[:3] = -2048  # outside the field of view of the scanner
    for data in (ct.fixed.data, padded, ct.fixed.data.clamp(-1000, 400)):
        assert messages(ct.fixed.with_data(data), ct.fixed_mask if masked else None, preset(name).image) == []


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("scale", SCALES)
def test_other_units_cause_a_warning(scale: str, name: str, masked: bool, ct: PhantomPair) -> None:
    image = replace(ct.fixed, data=SCALES[scale](ct.fixed.data.float()), name="ct.nii")
    texts = messages(image, ct.fixed_mask if masked else None, preset(name).image)
    assert len(texts) == 1 and texts[0].startswith("ct.nii: expected a CT in Hounsfield units")
    assert ("HU + 1024" in texts[0]) == (scale == "HU + 1024")


@pytest.mark.parametrize("padding", [0, -1024])
def test_suggested_window_for_shifted_units_is_the_preset_shifted(padding: int, ct: PhantomPair) -> None:
    """HU + 1024 as in DIR-Lab's files, and with a scanner's padding of -2048."""
    data = ct.fixed.data.float() + 1024
    data[:3] = padding
    image, settings = ct.fixed.with_data(data), preset("ct").image
    (text,) = messages(image, None, settings)
    low, high, outside = map(float, re.findall(r"--window (\S+) (\S+) --outside (\S+)", text)[0])
    assert (low, high, outside) == (24, 1624, 0)
    assert messages(image, None, replace(settings, window=(low, high), outside=outside)) == []


def test_fat_without_air_causes_a_warning_only_if_lungs_are_to_be_segmented() -> None:
    """A crop of the abdomen without air."""
    values = torch.cat([torch.linspace(-130, -70, 200), torch.linspace(0, 120, 800)]).reshape(25, 40)
    image = Image(values, Grid.from_spacing((25, 40), (1.0, 1.0)), name="abdomen.nii")
    assert messages(image, None, preset("ct").image) == []
    assert "no air or lung" in messages(image, None, preset("lung-ct").image)[0]


def test_settings_without_units_accept_any(ct: PhantomPair) -> None:
    scaled = ct.fixed.with_data(SCALES["0 to 1"](ct.fixed.data.float()))
    assert messages(scaled, None, preset("generic").image) == []
    assert messages(scaled, None, ImageSettings(window=(0.0, 1.0))) == []


def test_mask_of_the_body_instead_of_lungs_causes_a_warning(ct: PhantomPair) -> None:
    body = ct.fixed.with_data((ct.fixed.data > -200).to(torch.uint8))
    body = replace(body, name="body.nii")
    assert "body.nii: expected a mask of the lungs" in messages(ct.fixed, body, preset("lung-ct").image)[0]
    assert messages(ct.fixed, body, preset("ct").image) == []


@pytest.mark.parametrize("window", [(2000.0, 3000.0), (-9000.0, -5000.0), (100.0, 101.0)])
def test_window_beyond_all_values_is_refused(window: tuple[float, float]) -> None:
    image = Image(torch.arange(100.0).reshape(10, 10), Grid.from_spacing((10, 10), (1.0, 1.0)), name="a.nii")
    with pytest.raises(DataError, match=r"a\.nii: expected intensities inside the window .* found values 0 to 99"):
        check_intensities(image, None, ImageSettings(window=window))


def test_window_with_few_voxels_or_little_contrast_causes_a_warning() -> None:
    values = torch.linspace(0, 1000, 10_000).reshape(100, 100)
    image = Image(values, Grid.from_spacing((100, 100), (1.0, 1.0)), name="a.nii")
    mask = replace(image.with_data((values > 500).to(torch.uint8)), name="m.nii")
    for given, window, message in (
        (None, (950.0, 1000.0), "only 5 % of the voxels above its minimum lie in the window 950 to 1000"),
        (mask, (0.0, 520.0), "only 4 % of the voxels inside m.nii lie in the window 0 to 520"),
        (None, (0.0, 60_000.0), "1.7 % of the window 0 to 60000: hardly any contrast is left"),
    ):
        assert [message in text for text in messages(image, given, ImageSettings(window=window))] == [True]
    assert messages(image, mask, ImageSettings(window=(0.0, 600.0))) == []


def test_images_of_two_values_cause_a_warning_only_if_one_is_outside_the_window() -> None:
    grid = Grid.from_spacing((30, 20), (1.0, 1.0))
    data = torch.zeros(30, 20)
    data[10:20, 5:10] = 7
    mask = Image((data > 0).to(torch.uint8), grid)
    for window in ((0.0, 7.0), (0.0, 50.0), (1.0, 5.0)):
        for given_mask in (None, mask):
            texts = messages(Image(data, grid), given_mask, ImageSettings(window=window))
            assert len(texts) == (window == (1.0, 5.0))
