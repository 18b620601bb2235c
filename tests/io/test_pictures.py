"""Grey pictures in PNG and TIFF give their stored numbers; other pictures are errors that name the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from nephi.errors import DataError, DataWarning
from nephi.io import read_image

GREY = (np.arange(14 * 11).reshape(11, 14) % 251).astype(np.uint8)
SOLID, HOLED = np.full_like(GREY, 255), np.where(GREY == 7, 0, 255).astype(np.uint8)


def save(path: Path, *channels: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    """Write channels as a picture with Pillow."""
    array = channels[0] if len(channels) == 1 else np.dstack(channels)
    picture = Pillow.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    "channels", [(GREY,), (GREY, SOLID), (GREY, GREY, GREY), (GREY, GREY, GREY, SOLID)], ids=["L", "LA", "RGB", "RGBA"]
)
def test_grey_with_and_without_opaque_alpha(channels: tuple[np.ndarray, ...], suffix: str, tmp_path: Path) -> None:
    image = read_image(save(tmp_path / f"a{suffix}", *channels))
    assert image.data.dtype == torch.uint8 and image.voxel_type == "uint8"
    np.testing.assert_array_equal(image.data.numpy(), GREY.T)
    assert image.grid.same_as(read_image(save(tmp_path / f"plain{suffix}", GREY)).grid)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_palette_of_greys(suffix: str, tmp_path: Path) -> None:
    """ITK stretches the indices of a TIFF to 65,280."""
    image = read_image(save(tmp_path / f"a{suffix}", GREY, mode="P"))
    np.testing.assert_array_equal(image.data.numpy(), GREY.T)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_not_stretched(bits: int, tmp_path: Path) -> None:
    stored = GREY % np.uint8(2**bits)
    path = save(tmp_path / "a.png", stored, bits=bits)
    assert path.read_bytes()[24] == bits
    np.testing.assert_array_equal(read_image(path).data.numpy(), stored.T)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_masks_of_one_bit(suffix: str, tmp_path: Path) -> None:
    """ITK reads such a TIFF as a colour picture."""
    np.testing.assert_array_equal(read_image(save(tmp_path / f"a{suffix}", GREY > 100)).data.numpy(), GREY.T > 100)


def test_16_bits_and_floats_keep_their_numbers(tmp_path: Path) -> None:
    wide = GREY.astype(np.uint16) * 257
    for suffix in (".png", ".tif"):
        image = read_image(save(tmp_path / f"a{suffix}", wide))
        assert image.voxel_type == "uint16"
        np.testing.assert_array_equal(image.data.numpy(), wide.T)
    real = GREY.astype(np.float32) / 7
    np.testing.assert_array_equal(read_image(save(tmp_path / "f.tif", real)).data.numpy(), real.T)


def test_spacing_of_a_tiff_with_alpha_is_read(tmp_path: Path) -> None:
    plain, alpha = save(tmp_path / "l.tif", GREY, dpi=(100, 50)), save(tmp_path / "la.tif", GREY, SOLID, dpi=(100, 50))
    assert read_image(alpha).grid.same_as(read_image(plain).grid)
    assert read_image(alpha).grid.spacing.tolist() == pytest.approx([0.254, 0.508])


@pytest.mark.parametrize(
    ("tags", "program"),
    [
        ({270: "ImageJ=1.53t\nunit=micron\n", 282: 2.0, 283: 2.0, 296: 1}, "ImageJ"),
        ({270: '<OME><Image><Pixels PhysicalSizeX="0.5" PhysicalSizeY="0.5"/></Image></OME>'}, "OME"),
        ({270: "ImageJ=1.53t\nunit=pixel\n"}, ""),
        ({270: "a slice of 5 um"}, ""),
    ],
)
def test_pixel_sizes_in_a_description_give_a_warning(tags: dict[int, Any], program: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", GREY, tiffinfo=tags)
    if program:
        with pytest.warns(DataWarning, match=rf"a\.tif: pixel sizes in the description by {program} were not read"):
            image = read_image(path)
    else:
        image = read_image(path)
        assert image.warnings == ()
    assert image.grid.spacing.tolist() == [1, 1]
    np.testing.assert_array_equal(image.data.numpy(), GREY.T)


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_an_orientation_is_refused_in_tiff_and_ignored_in_png(orientation: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"a\.tif: .* found Orientation {orientation}; save the picture upright"):
        read_image(save(tmp_path / "a.tif", GREY, tiffinfo={274: orientation}))
    exif = Pillow.Exif()
    exif[274] = orientation
    with pytest.warns(DataWarning, match=rf"a\.png: .*Orientation {orientation}; used as stored, not rotated"):
        image = read_image(save(tmp_path / "a.png", GREY, exif=exif))
    np.testing.assert_array_equal(image.data.numpy(), GREY.T)


@pytest.mark.parametrize("stored", [GREY, GREY > 100], ids=["8", "1"])
def test_white_is_zero_is_not_inverted(stored: np.ndarray, tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", stored, tiffinfo={262: 0})
    with pytest.warns(DataWarning, match=r"a\.tif: the header defines 0 as white"):
        image = read_image(path)
    inverted = 255 - stored if stored.dtype == np.uint8 else ~stored  # Pillow inverts what it writes
    np.testing.assert_array_equal(image.data.numpy(), inverted.T)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("count", [1, 3])
def test_transparent_pixels_are_refused(count: int, suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"a{suffix}", *[GREY] * count, HOLED)
    with pytest.raises(DataError, match=rf"a\{suffix}: expected an opaque picture, found 1 transparent pixels; fill"):
        read_image(path)


def test_transparent_grey_value(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found 1 transparent pixels"):
        read_image(save(tmp_path / "a.png", GREY, transparency=7))
    image = read_image(save(tmp_path / "b.png", GREY, transparency=255))  # no pixel has this value
    np.testing.assert_array_equal(image.data.numpy(), GREY.T)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_colours_are_refused(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a grey picture, found 3 colours; convert it to grey"):
        read_image(save(tmp_path / f"a{suffix}", GREY, GREY // 2, GREY))
    picture = Pillow.fromarray(GREY % 3, "P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(tmp_path / f"p{suffix}")
    with pytest.raises(DataError, match=r"found indexed colours \(a palette\); save the indices"):
        read_image(tmp_path / f"p{suffix}")


def test_damaged_pictures_and_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for content in (b"no picture", save(path, GREY, SOLID).read_bytes()[:60], save(path, GREY).read_bytes()[:60]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.png: expected an image in \.png format"):
            read_image(path)
    save(tmp_path / "pages.tif", GREY, save_all=True, append_images=[Pillow.fromarray(GREY)])
    with pytest.raises(DataError, match=r"pages\.tif: expected one 2-D image, found 2 pages"):
        read_image(tmp_path / "pages.tif")
