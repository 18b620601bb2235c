"""DICOM series written with SimpleITK, read from their folder."""

from pathlib import Path

import numpy as np
import pydicom.data
import pytest
import SimpleITK as sitk
import torch
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io import read_image, write_image

from ..io.dicom.dicom_writer import ramp, write_slices

UID = "1.2.826.0.1.3680043.2.1125.1.{}"


@pytest.fixture
def right_handed(grid_3d: Grid) -> Grid:
    """DICOM's slices follow the cross product of the image axes: a right-handed grid."""
    affine = grid_3d.affine.clone()
    affine[:3, 0] *= -1
    return Grid(grid_3d.shape, affine)


def write_series(
    folder: Path, image: Image, series: int = 1, shift_mm: tuple[float, float, float] | None = None
) -> None:
    """Write CT slices, stored with a rescale intercept of -1024; `shift_mm` (LPS) a slice tilts the gantry."""
    folder.mkdir(exist_ok=True)
    write_image(image, folder / "volume.mha")
    volume = sitk.Cast(sitk.ReadImage(str(folder / "volume.mha")), sitk.sitkInt16)
    (folder / "volume.mha").unlink()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = np.reshape(volume.GetDirection(), (3, 3))
    for k in range(volume.GetDepth()):
        plane = volume[:, :, k]
        position = np.array(volume.TransformIndexToPhysicalPoint((0, 0, k))) + k * np.array(shift_mm or (0, 0, 0))
        tags = {
            "0008|0060": "CT",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": UID.format(f"{series}.{k + 1}"),
            "0020|000d": UID.format(99),
            "0020|000e": UID.format(series),
            "0020|0013": str(k + 1),
            "0020|0032": "\\".join(f"{x:.6f}" for x in position),
            "0020|0037": "\\".join(f"{x:.8f}" for x in direction[:, :2].T.ravel()),
            "0018|0050": f"{volume.GetSpacing()[2]:.6f}",
            "0028|1052": "-1024",
            "0028|1053": "1",
        }
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        # The names do not sort like the slices.
        writer.SetFileName(str(folder / f"{series}-{(k * 5) % 7}.dcm"))
        writer.Execute(plane)


def hounsfield(grid: Grid) -> Image:
    return Image(torch.arange(grid.size, dtype=torch.int16).reshape(grid.shape) - 500, grid)


def test_values_and_grid_of_a_series(tmp_path: Path, right_handed: Grid) -> None:
    image = hounsfield(right_handed)
    write_series(tmp_path / "ct", image)
    (tmp_path / "ct" / "notes.txt").write_text("not DICOM")
    back = read_image(tmp_path / "ct")
    assert torch.equal(back.data.int(), image.data.int())
    torch.testing.assert_close(back.grid.affine, right_handed.affine, rtol=0, atol=1e-4)
    assert back.name == str(tmp_path / "ct")


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_values_and_grid_of_a_series_are_those_of_itk(tmp_path: Path, signed: bool, syntax: str) -> None:
    """Written with pydicom, read by GDCM: values, position, spacing and direction."""
    folder = write_slices(tmp_path / "ct", ramp(), slope=2, intercept=-1024, signed=signed, bits=13, syntax=syntax)
    theirs = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    ours = read_image(folder)
    assert np.array_equal(ours.data.numpy(), sitk.GetArrayFromImage(theirs).T)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(theirs.GetDirection(), (3, 3)) * theirs.GetSpacing()
    affine[:3, 3] = theirs.GetOrigin()
    np.testing.assert_allclose(ours.grid.affine.numpy(), np.diag([-1, -1, 1, 1]) @ affine, rtol=0, atol=1e-5)


MR_FILES = ("", "_bigendian", "_expb", "_implicit", "_RLE", "_jp2klossless", "_jpeg_ls_lossless", "_padded")
READ = {
    **{f"MR_small{name}.dcm": "MR_small.dcm" for name in MR_FILES},
    "CT_small.dcm": "CT_small.dcm",
    "rtdose.dcm": "rtdose.dcm",
    "rtdose_rle.dcm": "rtdose.dcm",
    "rtdose_expb.dcm": "rtdose.dcm",
    "image_dfl.dcm": "image_dfl.dcm",
    "dicomdirtests/77654033/CR1/6154": "dicomdirtests/77654033/CR1/6154",
}


def from_pydicom(name: str) -> Path:
    """Return the path of a test file that pydicom includes."""
    return Path(pydicom.data.__file__).parent / "test_files" / name


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
@pytest.mark.parametrize("name", READ)
def test_files_of_pydicom(name: str) -> None:
    """Files of many scanners in many transfer syntaxes: MONOCHROME1, dose, lossless compression."""
    data = pydicom.dcmread(from_pydicom(READ[name]))
    slope = float(data.get("RescaleSlope", data.get("DoseGridScaling", 1)))
    expected = data.pixel_array * slope + float(data.get("RescaleIntercept", 0))
    np.testing.assert_allclose(read_image(from_pydicom(name)).data.numpy().T, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MR_truncated.dcm", "expected a complete DICOM slice of 8192 bytes of pixels, found 8130"),
        ("rtstruct.dcm", r"expected a DICOM image, found an object without pixels \(RT Structure Set Storage\)"),
        ("badVR.dcm", "NumberOfFrames, found '1A'"),
        ("examples_palette.dcm", "found 1 samples of PALETTE COLOR"),
        ("SC_rgb_rle.dcm", "found 3 samples of RGB"),
        ("liver_1frame.dcm", "convert a segmentation to a label map"),
        ("dicomdirtests/98892001/CT2N", "expected slices of one orientation, found 2: .*6293.*6924"),
        ("dicomdirtests/77654033/CT2", r"found distances from 1.250 to 202.500 mm .* from 17106 to 17136"),
        ("dicomdirtests", "found none and 4 folders"),
        ("dicomdirtests/DICOMDIR", r"a DICOMDIR \(an index of files\)"),
    ],
)
def test_files_of_pydicom_without_an_image(name: str, message: str) -> None:
    path = from_pydicom(name)
    if not path.exists():
        pytest.skip(f"{name} does not come with this version of pydicom")
    with pytest.raises(DataError, match=message):
        read_image(path)


def test_a_tilted_gantry_is_a_sheared_grid(tmp_path: Path, right_handed: Grid) -> None:
    image = hounsfield(right_handed)
    write_series(tmp_path / "ct", image, shift_mm=(0.4, -0.3, 0.0))
    back = read_image(tmp_path / "ct")
    expected = right_handed.affine.clone()
    expected[:3, 2] += torch.tensor([-0.4, 0.3, 0.0])
    torch.testing.assert_close(back.grid.affine, expected, rtol=0, atol=1e-4)
    assert torch.equal(back.data.int(), image.data.int())


def test_several_series_are_listed(tmp_path: Path, right_handed: Grid) -> None:
    write_series(tmp_path / "ct", hounsfield(right_handed), series=1)
    write_series(tmp_path / "ct", hounsfield(right_handed), series=2)
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / "ct")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'ct'}: expected a folder with one DICOM series, found 2")
    assert f"{UID.format(1)}" in message
    assert message.count("6 files") == 2


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_a_missing_slice_is_refused(
    tmp_path: Path, right_handed: Grid, missing: int, capfd: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "ct", hounsfield(right_handed))
    (tmp_path / "ct" / f"1-{(missing * 5) % 7}.dcm").unlink()
    with pytest.raises(DataError, match=r"ct: expected evenly spaced slices, found distances from 2.500 to 5.000 mm"):
        read_image(tmp_path / "ct")
    assert capfd.readouterr().err == ""  # no warning of ITK


def test_two_volumes_at_one_position_are_refused(tmp_path: Path, right_handed: Grid) -> None:
    """Phases of a breathing cycle may share a series UID."""
    write_series(tmp_path / "ct", hounsfield(right_handed))
    for file in sorted((tmp_path / "ct").iterdir()):
        file.with_name(f"again-{file.name}").write_bytes(file.read_bytes())
    with pytest.raises(DataError, match="several volumes may be in the folder"):
        read_image(tmp_path / "ct")


def test_one_axial_slice_is_2d(tmp_path: Path) -> None:
    grid = Grid.from_spacing((6, 4, 1), (0.5, 0.7, 3.0), (10.0, 20.0, 30.0))
    affine = grid.affine @ torch.diag(torch.tensor([-1.0, -1, 1, 1], dtype=torch.float64))
    image = hounsfield(Grid(grid.shape, affine))
    write_series(tmp_path / "cr", image)
    back = read_image(tmp_path / "cr")
    assert back.grid.shape == (6, 4)
    torch.testing.assert_close(back.grid.affine, torch.tensor([[-0.5, 0, 10], [0, -0.7, 20], [0, 0, 1]]).double())
    assert torch.equal(back.data.int(), image.data[..., 0].int())


def test_a_folder_without_dicom(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match="expected a folder with one DICOM series, found none"):
        read_image(tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("slice_number", [0, 3, 5])
def test_a_truncated_slice_is_refused(tmp_path: Path, right_handed: Grid, slice_number: int) -> None:
    write_series(tmp_path / "ct", hounsfield(right_handed))
    file = tmp_path / "ct" / f"1-{(slice_number * 5) % 7}.dcm"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"{file.name}: expected a complete DICOM slice"):
        read_image(tmp_path / "ct")
