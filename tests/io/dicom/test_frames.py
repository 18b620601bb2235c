"""Multi-frame DICOM: enhanced CT and MR, dose grids, videos."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset

from nephi.errors import DataError, DataWarning
from nephi.io import image_grid, read_image

from .dicom_writer import (
    COUNT,
    ENHANCED_CT,
    ENHANCED_MR,
    SHAPE,
    base,
    is_at,
    item,
    lps_affine,
    ramp,
    save,
    set_pixels,
    text,
    write_enhanced,
    write_slices,
)

pytestmark = pytest.mark.filterwarnings("error::nephi.errors.DataWarning")  # tests that expect a warning name it

ULTRASOUND, DOSE = "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.481.2"


@pytest.mark.parametrize("storage", [ENHANCED_CT, ENHANCED_MR, "1.2.3.4.5"])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]])
@pytest.mark.parametrize("name", ["ct/multi.dcm", "IM0001", "IMA.1.2.840.113"])
def test_frames_in_any_order(tmp_path: Path, storage: str, order: list[int], name: str) -> None:
    """A file alone, or in its folder."""
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    write_enhanced(file, ramp(), order=order, storage=storage, intercept=-1024)
    for path in (file, file.parent):
        image = read_image(path)
        assert np.array_equal(image.data.numpy(), ramp())
        assert image.data.dtype == torch.int16
        assert is_at(image.grid)
        assert image.name == str(path)
        assert is_at(image_grid(path))


def test_a_tilted_gantry_is_a_shear(tmp_path: Path) -> None:
    affine = lps_affine()
    affine[:3, 2] += 0.3 * affine[:3, 1]
    image = read_image(write_enhanced(tmp_path / "x.dcm", ramp(), affine))
    assert is_at(image.grid, affine)


def test_each_frame_has_its_scaling(tmp_path: Path) -> None:
    slopes, intercepts = [1.0, 0.5, 0.25, 2.0, 1.0, 0.125], [0.0, -1024.0, 3.5, 0.0, 7.0, 0.0]
    values = (ramp() + 600) * slopes + intercepts
    image = read_image(
        write_enhanced(tmp_path / "x.dcm", values, order=[2, 0, 1, 5, 4, 3], slope=slopes, intercept=intercepts)
    )
    assert image.data.dtype == torch.float32
    assert np.array_equal(image.data.numpy(), values)


def test_geometry_in_the_groups_of_each_frame(tmp_path: Path) -> None:
    """Orientation and spacing may be in the groups of each frame; the scaling in the shared groups or the file."""

    def change(data: Dataset) -> None:
        shared = data.SharedFunctionalGroupsSequence[0]
        for group in data.PerFrameFunctionalGroupsSequence:
            group.PlaneOrientationSequence = shared.PlaneOrientationSequence
            group.PixelMeasuresSequence = shared.PixelMeasuresSequence
            del group.PixelValueTransformationSequence
        del shared.PlaneOrientationSequence, shared.PixelMeasuresSequence
        data.RescaleSlope, data.RescaleIntercept = "2", "-1024"

    values = ramp() * 2
    image = read_image(write_enhanced(tmp_path / "x.dcm", values, slope=2, intercept=-1024, change=change))
    assert np.array_equal(image.data.numpy(), values)
    assert is_at(image.grid)


def test_one_file_a_frame(tmp_path: Path) -> None:
    for k in range(COUNT):
        write_enhanced(tmp_path / f"{k}.dcm", ramp(), order=[k])
    image = read_image(tmp_path)
    assert np.array_equal(image.data.numpy(), ramp())
    assert is_at(image.grid)


def test_a_missing_frame_is_a_gap(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "x.dcm", ramp(), order=[0, 1, 2, 4, 5])
    with pytest.raises(
        DataError, match=r"x.dcm: expected evenly spaced slices, .* from x.dcm frame 3 to x.dcm frame 4"
    ):
        read_image(tmp_path / "x.dcm")


def repeated(path: Path, sequence: str, values: tuple[Any, ...], keyword: str) -> Path:
    """Write the frames of every position once for each value."""

    def change(group: Dataset, frame: int) -> None:
        inner = item(**{keyword: values[frame // COUNT]})
        if sequence in group:
            setattr(group[sequence].value[0], keyword, values[frame // COUNT])
        else:
            setattr(group, sequence, [inner])

    order = list(range(COUNT)) * len(values)
    return write_enhanced(path, ramp(), order=order, storage=ENHANCED_MR, change_frame=change)


@pytest.mark.parametrize(
    ("sequence", "keyword", "values", "listed"),
    [
        ("FrameContentSequence", "TemporalPositionIndex", (1, 2, 3), "TemporalPositionIndex 1, 2, 3;"),
        ("MRDiffusionSequence", "DiffusionBValue", (0.0, 1000.0), "DiffusionBValue 0.0, 1000.0;"),
        ("MREchoSequence", "EffectiveEchoTime", (4.5, 9.0), "EffectiveEchoTime 4.5, 9.0;"),
        ("MRImageFrameTypeSequence", "FrameType", (["A", "M"], ["A", "P"]), r"FrameType A\\M, A\\P;"),
        (
            "CardiacSynchronizationSequence",
            "NominalCardiacTriggerDelayTime",
            tuple(float(n) for n in range(9)),
            r"NominalCardiacTriggerDelayTime 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, \.\.\.;",
        ),
    ],
)
def test_several_volumes_are_listed(
    tmp_path: Path, sequence: str, keyword: str, values: tuple[Any, ...], listed: str
) -> None:
    repeated(tmp_path / "x.dcm", sequence, values, keyword)
    expected = rf"x.dcm: expected one slice at each position, found x.dcm frame \d+ and .* which differ in {listed}"
    with pytest.raises(DataError, match=expected):
        read_image(tmp_path / "x.dcm")


def test_several_stacks_are_listed(tmp_path: Path) -> None:
    """Even if the stacks are adjacent."""

    def change(group: Dataset, frame: int) -> None:
        group.FrameContentSequence[0].StackID = "1" if frame < 4 else "2"

    write_enhanced(tmp_path / "x.dcm", ramp(), change_frame=change)
    with pytest.raises(
        DataError, match=r"expected one stack of slices, found 2 \(StackID 1 \(4 frames\), 2 \(2 frames\)"
    ):
        read_image(tmp_path / "x.dcm")


def test_two_volumes_in_one_series(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "a.dcm", ramp())
    write_enhanced(tmp_path / "b.dcm", ramp() + 3)
    with pytest.raises(DataError, match=r"found a.dcm frame 1 and b.dcm frame 1 at one position \(and 5 more"):
        read_image(tmp_path)
    assert is_at(read_image(tmp_path / "a.dcm").grid)


@pytest.mark.parametrize("removed", ["PlanePositionSequence", "ImagePositionPatient"])
def test_frames_without_a_position(tmp_path: Path, removed: str) -> None:
    def change(group: Dataset, frame: int) -> None:
        if frame == 2:
            delattr(group if removed in group else group.PlanePositionSequence[0], removed)

    write_enhanced(tmp_path / "x.dcm", ramp(), change_frame=change)
    with pytest.raises(DataError, match=r"expected ImagePositionPatient .* missing in 1 \(x.dcm frame 3"):
        read_image(tmp_path / "x.dcm")


@pytest.mark.parametrize("count", [1, COUNT - 1, COUNT + 1, 10**9])
def test_a_wrong_number_of_frames(tmp_path: Path, count: int) -> None:
    write_enhanced(tmp_path / "x.dcm", ramp(), change=lambda data: setattr(data, "NumberOfFrames", count))
    with pytest.raises(DataError, match=r"x.dcm: expected .* frames"):
        read_image(tmp_path / "x.dcm")


def test_a_video_is_not_a_volume(tmp_path: Path) -> None:
    data = base(*SHAPE[:2], ULTRASOUND)
    data.NumberOfFrames = COUNT
    set_pixels(data, np.moveaxis(ramp() + 500, -1, 0).swapaxes(1, 2), allocated=16)
    save(data, tmp_path / "us.dcm")
    with pytest.raises(DataError, match=r"us.dcm: expected ImagePositionPatient .*a video"):
        read_image(tmp_path / "us.dcm")


def test_a_dose_grid(tmp_path: Path) -> None:
    """Positions by the offset along the normal, values by DoseGridScaling."""
    affine = lps_affine()
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    data = base(*SHAPE[:2], DOSE)
    data.NumberOfFrames = COUNT
    data.PixelSpacing = text([spacing[1], spacing[0]])
    data.ImagePositionPatient = text(affine[:3, 3])
    data.ImageOrientationPatient = text([*affine[:3, 0] / spacing[0], *affine[:3, 1] / spacing[1]])
    data.GridFrameOffsetVector = text(spacing[2] * np.arange(COUNT))
    data.DoseGridScaling = "0.0025"
    set_pixels(data, np.moveaxis(ramp() + 500, -1, 0).swapaxes(1, 2), allocated=32)
    save(data, tmp_path / "dose.dcm")
    image = read_image(tmp_path / "dose.dcm")
    np.testing.assert_allclose(image.data.numpy(), (ramp() + 500) * 0.0025, rtol=1e-6)
    assert is_at(image.grid)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("step", [2.5, -2.5])
def test_an_axial_dose_grid_may_list_z(tmp_path: Path, sign: int, step: float) -> None:
    """DICOM PS3.3 C.8.8.3.2 (b)."""
    data = base(*SHAPE[:2], DOSE)
    data.NumberOfFrames = COUNT
    data.PixelSpacing, data.ImagePositionPatient = text([3, 2]), text([-30, -26, -20])
    data.ImageOrientationPatient = text([sign, 0, 0, 0, sign, 0])
    data.DoseGridScaling = "1"
    set_pixels(data, np.moveaxis(ramp() + 500, -1, 0).swapaxes(1, 2), allocated=32)
    grids = []
    for first in (0, -20):
        data.GridFrameOffsetVector = text(first + step * np.arange(COUNT))
        save(data, tmp_path / "dose.dcm")
        grids.append(read_image(tmp_path / "dose.dcm").grid)
    assert grids[0].same_as(grids[1])
    assert float(grids[0].corners_world()[:, 2].amin()) == min(-20, -20 + step * (COUNT - 1))
    data.GridFrameOffsetVector = text(4 + step * np.arange(COUNT))
    save(data, tmp_path / "dose.dcm")
    with pytest.raises(DataError, match=r"dose\.dcm: expected a GridFrameOffsetVector that starts with 0, .* found 4"):
        read_image(tmp_path / "dose.dcm")
    data.GridFrameOffsetVector = text(-20 + step * np.arange(COUNT))
    data.ImageOrientationPatient = text([1, 0, 0, 0, 0, 1])
    save(data, tmp_path / "dose.dcm")
    with pytest.raises(DataError, match="in an axial grid, found -20"):
        read_image(tmp_path / "dose.dcm")


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("holder", ["DetectorInformationSequence", None])
def test_a_reconstruction_in_nuclear_medicine(tmp_path: Path, sign: int, holder: str | None) -> None:
    """Positions by SpacingBetweenSlices with its sign (dcm2niix#885) from that of the detector."""
    affine = lps_affine()
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    data = base(*SHAPE[:2], "1.2.840.10008.5.1.4.1.1.20")
    data.NumberOfFrames = COUNT
    data.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    data.PixelSpacing = text([spacing[1], spacing[0]])
    data.SpacingBetweenSlices, data.FrameIncrementPointer = sign * spacing[2], 0x00540080
    data.SliceVector = list(range(1, COUNT + 1))
    first = affine[:3, 3] + (affine[:3, 2] * (COUNT - 1) if sign < 0 else 0)
    place = item(
        ImagePositionPatient=text(first),
        ImageOrientationPatient=text([*affine[:3, 0] / spacing[0], *affine[:3, 1] / spacing[1]]),
    )
    if holder:
        setattr(data, holder, [place])
    else:
        data.update(place)
    set_pixels(data, np.moveaxis(ramp(), -1, 0).swapaxes(1, 2)[::sign], signed=True)
    save(data, tmp_path / "spect.dcm")
    image = read_image(tmp_path / "spect.dcm")
    assert np.array_equal(image.data.numpy(), ramp())
    assert is_at(image.grid)
    del data.SpacingBetweenSlices
    save(data, tmp_path / "spect.dcm")
    with pytest.raises(DataError, match="expected SpacingBetweenSlices for 6 slices"):
        read_image(tmp_path / "spect.dcm")


def test_a_mosaic_is_refused(tmp_path: Path) -> None:
    def change(data: Dataset, k: int) -> None:
        data.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]

    with pytest.raises(DataError, match=r"000.dcm: expected a slice, found a mosaic"):
        read_image(write_slices(tmp_path / "mr", ramp(), change=change))


def test_a_damaged_attribute_is_ignored(tmp_path: Path) -> None:
    def change(data: Dataset, k: int) -> None:
        data.EchoTime = "1"
        data["EchoTime"]._value = "none"

    assert is_at(read_image(write_slices(tmp_path / "mr", ramp(), change=change)).grid)


def test_one_slice_of_a_series(tmp_path: Path) -> None:
    affine = np.diag([0.7, 0.7, 2.0, 1.0])
    folder = write_slices(tmp_path / "ct", ramp(), affine)
    with pytest.warns(DataWarning, match=r"003.dcm: read as one slice in 2-D; give the folder .*ct to read"):
        image = read_image(folder / "003.dcm")
    assert np.array_equal(image.data.numpy(), ramp()[..., 3])
    (folder / "003.dcm").rename(tmp_path / "alone")
    assert read_image(tmp_path / "alone").dimension == 2
