"""Further channels of a pair: their number, place, windows and settings."""

import pytest
import torch

from nephi.errors import DataError, PlausibilityWarning, UsageError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.preparation import prepare_pair
from nephi.settings import ChannelSettings, Settings, settings_from_table, settings_table

SHAPE = (20, 16, 12)


def image(seed: int, spacing: float = 1.0, shift: float = 0.0, scale: float = 1.0) -> Image:
    affine = torch.diag(torch.tensor([2.0 * spacing, 1.5 * spacing, 3.0 * spacing, 1.0], dtype=torch.float64))
    affine[0, 3] = shift
    shape = tuple(int(n / spacing) for n in SHAPE)
    data = scale * torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return Image(data, Grid(shape, affine), name=f"image {seed}")


def test_each_channel_has_its_own_grid_window_and_similarity() -> None:
    settings = Settings(channels=(ChannelSettings(), ChannelSettings("0.5 mind", (0.0, 50.0))))
    pair, used = prepare_pair([image(0), image(1, 2.0, 1.0, 100.0)], [image(2), image(3)], None, None, settings)
    assert used.objective.similarity == "lncc2" and pair.fixed.name == "image 0"
    (channel,) = pair.channels
    assert channel.settings.objective.similarity == "0.5 mind" and channel.settings.objective.radius == 2
    assert channel.images.fixed_window == (0.0, 50.0) != pair.fixed_window
    assert channel.images.fixed.name == "image 1" and channel.images.moving.name == "image 3"


def test_the_first_table_is_that_of_the_first_channel() -> None:
    settings = Settings(channels=(ChannelSettings("mse"), ChannelSettings()))
    pair, used = prepare_pair([image(0), image(1)], [image(2), image(3)], None, None, settings)
    assert used.objective.similarity == "mse" and used.affine.similarity == "mse"
    assert pair.channels[0].settings.objective.similarity == "lncc2"
    assert settings_from_table(settings_table(used), "table") == used


def test_channels_follow_an_alignment_with_the_masks() -> None:
    mask = image(0).with_data(torch.ones(SHAPE, dtype=torch.uint8))
    pair, _ = prepare_pair([image(0), image(1)], [image(2), image(3)], None, mask, Settings())
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, 3] = 4.0
    moved = pair.with_moving_transformed(matrix).channels[0].images
    assert moved.moving_mask is not None
    torch.testing.assert_close(moved.moving.grid.origin, image(3).grid.origin + 4)
    torch.testing.assert_close(moved.moving_mask.grid.origin, image(3).grid.origin + 4)
    torch.testing.assert_close(moved.fixed.grid.origin, image(1).grid.origin)


def test_a_single_image_has_no_channels() -> None:
    assert prepare_pair([image(0)], image(2), None, None, Settings())[0].channels == ()


def test_numbers_that_do_not_match() -> None:
    with pytest.raises(UsageError, match="moving: expected 2 images, as many as fixed ones, got 1"):
        prepare_pair([image(0), image(1)], image(2), None, None, Settings())
    two = Settings(channels=(ChannelSettings("mse"), ChannelSettings("ncc")))
    with pytest.raises(UsageError, match="channels: expected one table for each of 1 pairs of images, got 2"):
        prepare_pair(image(0), image(2), None, None, two)
    with pytest.raises(UsageError, match="got an empty list"):
        prepare_pair([], [], None, None, Settings())
    with pytest.raises(UsageError, match="similarity"):
        ChannelSettings("mean")


def test_images_of_other_places_and_dimensions() -> None:
    flat = Image(torch.rand(8, 9), Grid((8, 9), torch.eye(3, dtype=torch.float64)), name="flat")
    with pytest.raises(DataError, match="flat: expected a 3-D image, as image 0, the first channel, got 2-D"):
        prepare_pair([image(0), flat], [image(2), image(3)], None, None, Settings())
    with pytest.raises(DataError, match=r"image 3: expected an image in the world of image 2, found 0 %"):
        prepare_pair([image(0), image(1)], [image(2), image(3, shift=100.0)], None, None, Settings())
    with pytest.warns(PlausibilityWarning, match="image 3: expected an image in the world of image 2"):
        prepare_pair([image(0), image(1)], [image(2), image(3, shift=25.0)], None, None, Settings())
    constant = image(1).with_data(torch.ones(SHAPE))
    with pytest.raises(DataError, match="image 1"):
        prepare_pair([image(0), constant], [image(2), image(3)], None, None, Settings())
