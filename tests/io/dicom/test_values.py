"""Values of DICOM series: every slice with its own scaling, sign and bits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset

from nephi.errors import DataError, DataWarning
from nephi.io import read_image

from .dicom_writer import COUNT, PET, SHAPE, is_at, ramp, write_slices

pytestmark = pytest.mark.filterwarnings("error::nephi.errors.DataWarning")  # tests that expect a warning name it


def activity(slopes: np.ndarray) -> np.ndarray:
    """Return values that are whole multiples of the slope of each slice."""
    return (ramp() + 501) * slopes


SLOPES = np.linspace(0.0041, 0.0097, COUNT)


@pytest.mark.parametrize(
    "slopes",
    [
        SLOPES,
        np.where(np.arange(COUNT) == 0, 1.0, SLOPES),  # the first slice's scale gives whole numbers
        np.where(np.arange(COUNT) == COUNT - 1, 1.0, SLOPES),
        np.where(np.arange(COUNT) == 2, 0.5, 1.0),
        SLOPES * 1e-6,  # dcm2niix#978
        -SLOPES,
    ],
    ids=["fractions", "first is 1", "last is 1", "one half", "1e-8", "negative"],
)
def test_each_slice_has_its_slope(tmp_path: Path, slopes: np.ndarray) -> None:
    values = activity(slopes)
    image = read_image(write_slices(tmp_path / "pet", values, slope=slopes, signed=False, storage=PET))
    assert image.data.dtype == torch.float32
    np.testing.assert_allclose(image.data.numpy(), values, rtol=1e-6)
    assert is_at(image.grid)


def test_whole_slopes_stay_whole(tmp_path: Path) -> None:
    slopes = np.where(np.arange(COUNT) == 3, 200.0, 1.0)
    values = activity(slopes)
    image = read_image(write_slices(tmp_path / "ct", values, slope=slopes, bits=12, signed=False))
    assert not image.data.dtype.is_floating_point
    assert np.array_equal(image.data.numpy(), values)


@pytest.mark.parametrize("first", [0, -1024, -3000.0])
def test_each_slice_has_its_intercept(tmp_path: Path, first: float) -> None:
    intercepts = [first] + [-1024.0] * (COUNT - 1)
    values = np.where(np.arange(COUNT) == 0, first, -1024) + ramp() + 500
    image = read_image(write_slices(tmp_path / "ct", values, intercept=intercepts, signed=False, bits=12))
    assert image.data.dtype == torch.int16
    assert np.array_equal(image.data.numpy(), values)


@pytest.mark.parametrize(("highest", "kind"), [(32_767, torch.int16), (32_768, torch.int32)])
def test_pixels_of_16_bits_stay_at_16_bits(tmp_path: Path, highest: int, kind: torch.dtype) -> None:
    """With an intercept of -1024, unsigned pixels may exceed int16; only values decide, and none is changed."""
    values = ramp() + 500
    values[..., -1] = highest
    image = read_image(write_slices(tmp_path / "ct", values, intercept=-1024, signed=False))
    assert image.data.dtype == kind and image.stored_type is None
    assert np.array_equal(image.data.numpy(), values)


def test_identifiers_of_32_bits_keep_their_type(tmp_path: Path) -> None:
    """Only results of scaling become narrower, not what a file stores."""
    image = read_image(write_slices(tmp_path / "labels", ramp(), signed=True, allocated=32))
    assert image.voxel_type == "int32"


def test_a_fractional_intercept_of_one_slice(tmp_path: Path) -> None:
    intercepts = [0.0] * 4 + [0.25] + [0.0]
    values = ramp() + np.array(intercepts)
    image = read_image(write_slices(tmp_path / "ct", values, intercept=intercepts))
    assert np.array_equal(image.data.numpy(), values)


@pytest.mark.parametrize("first", [True, False])
def test_signed_and_unsigned_slices(tmp_path: Path, first: bool) -> None:
    """With the type of the first slice, 40,000 and -3 would wrap around."""
    signed = [first, *[not first] * 2, *[first] * 3]
    values = np.where(np.array(signed), ramp() - 3, ramp() + 40_500)
    image = read_image(write_slices(tmp_path / "ct", values, signed=signed))
    assert image.data.dtype == torch.int32
    assert np.array_equal(image.data.numpy(), values)


@pytest.mark.parametrize("allocated", [[8, 16, 16, 16, 16, 8], [16, 32, 16, 16, 16, 8], [8] * 6, [32] * 6])
def test_slices_of_different_bits(tmp_path: Path, allocated: list[int]) -> None:
    values = np.minimum(ramp() + 500, 2.0 ** np.array(allocated) - 1)
    image = read_image(write_slices(tmp_path / "ct", values, signed=False, allocated=allocated))
    assert np.array_equal(image.data.numpy(), values)
    assert image.voxel_type == f"uint{max(allocated)}"


def test_large_identifiers_of_32_bits(tmp_path: Path) -> None:
    values = ramp() + 2**32 - 1000
    image = read_image(write_slices(tmp_path / "labels", values, signed=False, allocated=32))
    assert np.array_equal(image.data.long().numpy(), values.astype(np.int64))


def test_the_sign_is_that_of_the_stored_bits(tmp_path: Path) -> None:
    """Twelve bits in sixteen: zeros above a negative number do not make it positive."""

    def clear(data: Dataset, k: int) -> None:
        stored = np.frombuffer(data.PixelData, np.uint16) & 0x0FFF
        data.PixelData = stored.tobytes()

    image = read_image(write_slices(tmp_path / "ct", ramp(), bits=12, change=clear))
    assert np.array_equal(image.data.numpy(), ramp())


def test_an_overlay_above_the_stored_bits_is_ignored(tmp_path: Path) -> None:
    def overlay(data: Dataset, k: int) -> None:
        data.PixelData = (np.frombuffer(data.PixelData, np.uint16) | 0x8000).tobytes()

    with pytest.warns(DataWarning, match=r"ct: pixels have bits set .* in 6 files \(000.dcm"):
        image = read_image(write_slices(tmp_path / "ct", ramp() + 500, bits=12, signed=False, change=overlay))
    assert np.array_equal(image.data.numpy(), ramp() + 500)


def test_a_number_below_the_high_bit(tmp_path: Path) -> None:
    """Old files store twelve bits at the upper end of sixteen."""

    def shift(data: Dataset, k: int) -> None:
        data.HighBit = 15
        data.PixelData = (np.frombuffer(data.PixelData, np.uint16) << 4).tobytes()

    image = read_image(write_slices(tmp_path / "ct", ramp(), bits=12, change=shift))
    assert np.array_equal(image.data.numpy(), ramp())


def test_floating_point_pixels(tmp_path: Path) -> None:
    values = ramp() / 7

    def store(data: Dataset, k: int) -> None:
        del data.PixelData, data.BitsStored, data.HighBit, data.PixelRepresentation
        data.BitsAllocated = 32
        data.FloatPixelData = np.ascontiguousarray(values[..., k].T.astype("<f4")).tobytes()

    image = read_image(write_slices(tmp_path / "map", np.zeros(SHAPE), change=store))
    assert np.array_equal(image.data.numpy(), values.astype(np.float32))


def test_whole_numbers_beyond_float32_are_exact(tmp_path: Path) -> None:
    values = ramp() + 614_454_277.0

    def store(data: Dataset, k: int) -> None:
        del data.PixelData, data.BitsStored, data.HighBit, data.PixelRepresentation
        data.BitsAllocated = 64
        data.DoubleFloatPixelData = np.ascontiguousarray(values[..., k].T.astype("<f8")).tobytes()

    image = read_image(write_slices(tmp_path / "map", np.zeros(SHAPE), change=store))
    assert np.array_equal(image.data.numpy(), values)


def test_values_of_an_inverted_display_are_not_inverted(tmp_path: Path) -> None:
    def invert(data: Dataset, k: int) -> None:
        data.PhotometricInterpretation = "MONOCHROME1"

    with pytest.warns(DataWarning, match=r"ct: MONOCHROME1.*not inverted"):
        image = read_image(write_slices(tmp_path / "ct", ramp(), intercept=-1024, signed=False, change=invert))
    assert np.array_equal(image.data.numpy(), ramp())
    assert len(image.warnings) == 1


def remove(*keywords: str, slices: range = range(COUNT)) -> object:
    def change(data: Dataset, k: int) -> None:
        for keyword in keywords if k in slices else ():
            delattr(data, keyword)

    return change


def test_no_rescaling(tmp_path: Path) -> None:
    image = read_image(write_slices(tmp_path / "mr", ramp(), change=remove("RescaleSlope", "RescaleIntercept")))
    assert np.array_equal(image.data.numpy(), ramp())


def test_a_slope_without_an_intercept(tmp_path: Path) -> None:
    write_slices(tmp_path / "ct", ramp(), intercept=-1024, change=remove("RescaleSlope"))
    with pytest.warns(DataWarning, match=r"RescaleSlope is missing in 6 of 6 slices \(000.dcm, ...\); 1 was used"):
        image = read_image(tmp_path / "ct")
    assert np.array_equal(image.data.numpy(), ramp())


def test_slices_without_rescaling_among_others(tmp_path: Path) -> None:
    change = remove("RescaleSlope", "RescaleIntercept", slices=range(2, 4))
    write_slices(tmp_path / "ct", ramp(), intercept=-1024, change=change)
    with pytest.warns(DataWarning, match=r"2 of 6 slices have no rescale slope and intercept \(002.dcm"):
        image = read_image(tmp_path / "ct")
    assert np.array_equal(image.data[..., 1].numpy(), ramp()[..., 1])
    assert np.array_equal(image.data[..., 2].numpy(), ramp()[..., 2] + 1024)


@pytest.mark.filterwarnings("default::nephi.errors.DataWarning")  # pydicom warns as well
@pytest.mark.parametrize("slope", ["0", "nan", "1e999", "1,5", "1\\2"])
def test_no_usable_slope(tmp_path: Path, slope: str) -> None:
    def change(data: Dataset, k: int) -> None:
        if k == 3:
            data.RescaleSlope = "1"
            data["RescaleSlope"]._value = slope

    write_slices(tmp_path / "ct", ramp(), change=change)
    with pytest.raises(DataError, match=r"003.dcm: expected .*RescaleSlope"):
        read_image(tmp_path / "ct")


def test_an_empty_slice_of_slope_0(tmp_path: Path) -> None:
    """Some PET scanners write slices without counts in this way."""
    values = ramp() * (np.arange(COUNT) != 2)

    def change(data: Dataset, k: int) -> None:
        data.RescaleSlope = "0" if k == 2 else "1"

    image = read_image(write_slices(tmp_path / "pet", values, change=change))
    assert np.array_equal(image.data.numpy(), values)


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("SamplesPerPixel", 3, "expected one grey value per pixel"),
        ("PhotometricInterpretation", "PALETTE COLOR", "expected one grey value per pixel"),
        ("BitsAllocated", 1, "expected 8, 16 or 32 bits"),
        ("BitsStored", 20, "expected BitsStored and HighBit within BitsAllocated 16, found 20"),
        ("HighBit", 5, "expected BitsStored and HighBit within"),
    ],
)
def test_other_images_than_grey_are_refused(tmp_path: Path, keyword: str, value: object, message: str) -> None:
    write_slices(tmp_path / "ct", ramp(), change=lambda data, k: setattr(data, keyword, value))
    with pytest.raises(DataError, match=f"000.dcm: {message}"):
        read_image(tmp_path / "ct")
