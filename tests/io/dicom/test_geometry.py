"""Position and order of DICOM slices; missing values and contradictions are errors or warnings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset

from nephi.errors import DataError, DataWarning
from nephi.geometry import Plane
from nephi.io import read_image

from .dicom_writer import COUNT, SERIES, SHAPE, is_at, item, lps_affine, ramp, ras_affine, text, write_slices

pytestmark = pytest.mark.filterwarnings("error::nephi.errors.DataWarning")  # tests that expect a warning name it

Change = Callable[[Dataset, int], Any]


def put(keyword: str, value: Any, slices: tuple[int, ...] = tuple(range(COUNT))) -> Change:
    """Return a change that sets a value of some slices, or deletes it for None."""

    def change(data: Dataset, k: int) -> None:
        if k in slices and value is None:
            delattr(data, keyword)
        elif k in slices:
            setattr(data, keyword, value)

    return change


def axial_affine() -> np.ndarray:
    """Return the matrix of an axial series: columns to the left, rows to the back."""
    affine = np.diag([0.7, 0.7, 2.0, 1.0])
    affine[:3, 3] = [-120.0, -80.0, 33.0]
    return affine


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]])
def test_the_order_is_that_of_the_positions(tmp_path: Path, order: list[int]) -> None:
    """Independent of file names and instance numbers."""

    def renumber(data: Dataset, k: int) -> None:
        data.InstanceNumber = order[k] + 1

    write_slices(tmp_path / "ct", ramp(), change=renumber)
    for k, new in enumerate(order):
        (tmp_path / "ct" / f"{k:03d}.dcm").rename(tmp_path / "ct" / f"IM-{new}")
    image = read_image(tmp_path / "ct")
    assert np.array_equal(image.data.numpy(), ramp())
    assert is_at(image.grid)


def test_slices_are_sorted_along_the_normal(tmp_path: Path) -> None:
    affine = lps_affine()
    affine[:3, 3] += (COUNT - 1) * affine[:3, 2]
    affine[:3, 2] *= -1
    image = read_image(write_slices(tmp_path / "ct", ramp()[..., ::-1], affine))
    assert np.array_equal(image.data.numpy(), ramp())
    assert is_at(image.grid)


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("slices", [tuple(range(COUNT)), (2,)])
def test_no_geometry_is_invented_for_a_volume(tmp_path: Path, keyword: str, value: Any, slices: tuple[int]) -> None:
    write_slices(tmp_path / "ct", ramp(), change=put(keyword, value, slices))
    expected = rf"ct: expected {keyword} in each of 6 slices, it is missing in {len(slices)} \(00{slices[0]}.dcm"
    with pytest.raises(DataError, match=expected):
        read_image(tmp_path / "ct")


@pytest.mark.parametrize("keyword", ["ImagerPixelSpacing", "NominalScannedPixelSpacing"])
def test_spacing_at_the_detector_is_refused_for_a_volume(tmp_path: Path, keyword: str) -> None:
    def change(data: Dataset, k: int) -> None:
        setattr(data, keyword, data.PixelSpacing)
        del data.PixelSpacing

    write_slices(tmp_path / "ct", ramp(), change=change)
    with pytest.raises(DataError, match=r"expected PixelSpacing in each of 6 slices"):
        read_image(tmp_path / "ct")


@pytest.mark.parametrize("spacing", [["0", "0"], ["0", "1"], ["-1", "1"], ["1"], ["1", "1", "1"]])
@pytest.mark.parametrize("count", [1, COUNT])
def test_no_usable_spacing(tmp_path: Path, spacing: list[str], count: int) -> None:
    write_slices(tmp_path / "ct", ramp()[..., :count], axial_affine(), change=put("PixelSpacing", spacing))
    with pytest.raises(DataError, match=r"000.dcm: expected .*PixelSpacing"):
        read_image(tmp_path / "ct")


@pytest.mark.filterwarnings("default::nephi.errors.DataWarning")
@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
@pytest.mark.parametrize("number", ["nan", "inf", "1e999", "x", "1,5"])
def test_invalid_numbers_are_refused(tmp_path: Path, keyword: str, number: str) -> None:
    def change(data: Dataset, k: int) -> None:
        if k == 1:
            values = [str(value) for value in data[keyword].value]
            data[keyword]._value = "\\".join([number, *values[1:]])

    write_slices(tmp_path / "ct", ramp(), change=change)
    with pytest.raises(DataError, match=rf"001.dcm: expected .*{keyword}"):
        read_image(tmp_path / "ct")


@pytest.mark.parametrize(
    "axes", [[0, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 2, 0], [1, 0, 0, 0.5, 0.8, 0], [1, 0, 0, 0, 0, 0]]
)
def test_invalid_axes_are_refused(tmp_path: Path, axes: list[float]) -> None:
    write_slices(tmp_path / "ct", ramp(), change=put("ImageOrientationPatient", text(axes)))
    with pytest.raises(DataError, match=r"expected two perpendicular unit vectors as ImageOrientationPatient"):
        read_image(tmp_path / "ct")


def test_rounded_axes_are_perpendicular(tmp_path: Path) -> None:
    """A rotation with three digits is sheared by 0.0005, the grid is not."""
    cosine, sine = np.cos(0.3), np.sin(0.3)
    affine = np.eye(4)
    affine[:3, :3] = [[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]
    axes = [f"{value:.2f}" for value in affine[:3, :2].T.ravel()]
    image = read_image(write_slices(tmp_path / "ct", ramp(), affine, change=put("ImageOrientationPatient", axes)))
    direction = image.grid.direction
    torch.testing.assert_close(direction.T @ direction, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert np.abs(image.grid.affine.numpy() - ras_affine(affine)).max() < 0.01


def other_size(data: Dataset, k: int) -> None:
    if k == 4:
        data.Rows, data.Columns = data.Columns, data.Rows


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (other_size, "size"),
        (put("PixelSpacing", ["0.9", "1.5"], (4,)), "PixelSpacing"),
        (put("ImageOrientationPatient", ["0", "1", "0", "0", "0", "-1"], (4,)), "orientation"),
    ],
    ids=["size", "spacing", "orientation"],
)
def test_a_slice_that_differs_is_named(tmp_path: Path, change: Change, name: str) -> None:
    """A localizer, for example, with the UID of the series."""
    write_slices(tmp_path / "ct", ramp(), change=change)
    with pytest.raises(DataError, match=rf"expected slices of one {name}, found 2: .* in 5 .* in 1 \(004.dcm\)"):
        read_image(tmp_path / "ct")


def test_rounding_of_header_values_is_tolerated(tmp_path: Path) -> None:
    def change(data: Dataset, k: int) -> None:
        data.ImageOrientationPatient = text(np.array(data.ImageOrientationPatient, float) + 2e-5 * (k % 2))
        data.PixelSpacing = text(np.array(data.PixelSpacing, float) * (1 + 2e-5 * (k % 2)))

    image = read_image(write_slices(tmp_path / "ct", ramp(), change=change))
    assert np.array_equal(image.data.numpy(), ramp())


def test_the_distance_is_that_of_the_positions(tmp_path: Path) -> None:
    write_slices(tmp_path / "ct", ramp(), change=put("SpacingBetweenSlices", "1.25"))
    with pytest.warns(DataWarning, match=r"SpacingBetweenSlices is 1.25 mm, the positions of the slices are 2.5 mm"):
        image = read_image(tmp_path / "ct")
    assert is_at(image.grid)


@pytest.mark.parametrize(("keyword", "value"), [("SliceThickness", "5"), ("SpacingBetweenSlices", "-2.5")])
def test_thick_slices_give_no_warning(tmp_path: Path, keyword: str, value: str) -> None:
    assert is_at(read_image(write_slices(tmp_path / "ct", ramp(), change=put(keyword, value))).grid)


def test_a_tilted_gantry_gives_no_warning(tmp_path: Path) -> None:
    """SpacingBetweenSlices is then the distance along the normal."""
    affine = lps_affine()
    affine[:3, 2] += 0.3 * affine[:3, 1]
    image = read_image(write_slices(tmp_path / "ct", ramp(), affine, change=put("SpacingBetweenSlices", "2.5")))
    assert is_at(image.grid, affine)


def test_several_frames_of_reference(tmp_path: Path) -> None:
    write_slices(tmp_path / "ct", ramp(), change=put("FrameOfReferenceUID", SERIES + ".3", (1, 2)))
    with pytest.warns(DataWarning, match="slices have 2 frames of reference"):
        assert is_at(read_image(tmp_path / "ct").grid)


def test_a_gap_is_located(tmp_path: Path) -> None:
    write_slices(tmp_path / "ct", ramp(), change=lambda data, k: k != 3)
    with pytest.raises(DataError, match=r"2.500 to 5.000 mm between the 5 slices, the largest from 002.dcm to 004.dcm"):
        read_image(tmp_path / "ct")


def test_close_slices_are_distinct(tmp_path: Path) -> None:
    def change(data: Dataset, k: int) -> None:
        data.ImagePositionPatient = text([0, 0, 30.0 * k - (29 if k == 3 else 0)])
        data.ImageOrientationPatient = text([1, 0, 0, 0, 1, 0])

    with pytest.raises(DataError, match=r"evenly spaced slices, found distances from 1.000 to 59.000 mm .* 003.dcm to"):
        read_image(write_slices(tmp_path / "ct", ramp(), change=change))


@pytest.mark.parametrize("copied", ["002.dcm", "*.dcm"])
def test_copies_of_files_are_named(tmp_path: Path, copied: str) -> None:
    folder = write_slices(tmp_path / "ct", ramp())
    for file in sorted(folder.glob(copied)):
        file.with_name(f"{file.stem} (1).dcm").write_bytes(file.read_bytes())
    name = sorted(folder.glob("*(1).dcm"))[0].stem[:3]
    with pytest.raises(DataError, match=rf"found {name} \(1\).dcm and {name}.dcm at one .*copies of one instance"):
        read_image(folder)


@pytest.mark.parametrize(
    ("keyword", "values", "listed"),
    [
        ("AcquisitionNumber", (1, 2), "AcquisitionNumber 1, 2"),
        ("TemporalPositionIdentifier", (1, 2), "TemporalPositionIdentifier 1, 2"),
        ("EchoTime", ("4.6", "9.2"), r"EchoTime 4.6, 9.2"),
        ("DiffusionBValue", (0.0, 1000.0), r"DiffusionBValue 0.0, 1000.0"),
        ("ContentTime", ("101010.1", "101112.2"), "ContentTime 101010, 101112"),
    ],
)
def test_volumes_in_one_series_are_distinguished(tmp_path: Path, keyword: str, values: Any, listed: str) -> None:
    for number, value in enumerate(values):
        write_slices(tmp_path / "ct", ramp(), change=put(keyword, value), name=f"{number}-{{}}.dcm")
    expected = rf"expected one slice at each position, found 0-\d.dcm and 1-\d.dcm .* which differ in {listed};"
    with pytest.raises(DataError, match=expected):
        read_image(tmp_path / "ct")


def write_one(folder: Path, *removed: str, **values: Any) -> Path:
    def change(data: Dataset, k: int) -> None:
        for keyword in removed:
            delattr(data, keyword)
        for keyword, value in values.items():
            setattr(data, keyword, value)

    return write_slices(folder, ramp()[..., :1], axial_affine(), change=change)


PLACE = ("ImagePositionPatient", "ImageOrientationPatient")


def test_the_position_of_one_slice(tmp_path: Path) -> None:
    image = read_image(write_one(tmp_path / "ct", SliceThickness="2.5"))
    assert image.grid.plane == Plane(33.0, 2.5)
    assert image.grid.shape == SHAPE[:2]
    assert np.array_equal(image.data.numpy(), ramp()[..., 0])
    torch.testing.assert_close(image.grid.affine, torch.tensor([[-0.7, 0, 120], [0, -0.7, 80], [0, 0, 1]]).double())


def test_a_radiograph_without_a_position(tmp_path: Path) -> None:
    write_one(tmp_path / "cr", *PLACE)
    with pytest.warns(
        DataWarning, match=r"cr: no ImagePositionPatient and ImageOrientationPatient.*the first pixel is at 0, 0"
    ):
        image = read_image(tmp_path / "cr")
    torch.testing.assert_close(image.grid.affine, torch.diag(torch.tensor([-0.7, -0.7, 1])).double())


@pytest.mark.parametrize("keyword", ["ImagerPixelSpacing", "NominalScannedPixelSpacing"])
def test_a_radiograph_with_the_spacing_of_its_detector(tmp_path: Path, keyword: str) -> None:
    write_one(tmp_path / "cr", *PLACE, "PixelSpacing", **{keyword: ["0.2", "0.3"]})
    with pytest.warns(DataWarning) as caught:
        image = read_image(tmp_path / "cr")
    assert any(f"no PixelSpacing; {keyword} was used" in str(each.message) for each in caught)
    assert len(image.warnings) == 2
    torch.testing.assert_close(image.grid.spacing, torch.tensor([0.3, 0.2]).double())


def test_the_calibrated_spacing_is_preferred(tmp_path: Path) -> None:
    write_one(tmp_path / "cr", *PLACE, ImagerPixelSpacing=["0.2", "0.3"])
    with pytest.warns(DataWarning) as caught:
        image = read_image(tmp_path / "cr")
    assert len(caught) == 1
    torch.testing.assert_close(image.grid.spacing, torch.tensor([0.7, 0.7]).double())


def test_an_image_without_geometry(tmp_path: Path) -> None:
    write_one(tmp_path / "sc", *PLACE, "PixelSpacing")
    with pytest.warns(DataWarning) as caught:
        image = read_image(tmp_path / "sc")
    assert any("a pixel width of 1 mm was used" in str(each.message) for each in caught)
    assert image.grid.spacing.tolist() == [1, 1]


def test_the_aspect_ratio_of_pixels_without_a_spacing(tmp_path: Path) -> None:
    write_one(tmp_path / "sc", *PLACE, "PixelSpacing", PixelAspectRatio=["3", "2"])
    with pytest.warns(DataWarning):
        image = read_image(tmp_path / "sc")
    assert image.grid.spacing.tolist() == [1, 1.5]


@pytest.mark.parametrize(("unit", "spacing"), [(3, [0.3, 0.2]), (4, [1, 1])])
def test_an_ultrasound_region(tmp_path: Path, unit: int, spacing: list[float]) -> None:
    """In centimetres, not in seconds."""
    region = item(PhysicalUnitsXDirection=unit, PhysicalUnitsYDirection=unit, PhysicalDeltaX=0.03, PhysicalDeltaY=-0.02)
    write_one(tmp_path / "us", *PLACE, "PixelSpacing", SequenceOfUltrasoundRegions=[region])
    with pytest.warns(DataWarning):
        image = read_image(tmp_path / "us")
    torch.testing.assert_close(image.grid.spacing, torch.tensor(spacing).double())


@pytest.mark.parametrize("keyword", [*PLACE, "PixelSpacing"])
def test_position_without_orientation_is_refused(tmp_path: Path, keyword: str) -> None:
    write_one(tmp_path / "ct", keyword)
    with pytest.raises(DataError, match=rf"ct: expected .*{keyword}"):
        read_image(tmp_path / "ct")
