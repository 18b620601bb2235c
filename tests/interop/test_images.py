"""Positions of voxels are those of SimpleITK and nibabel, for files of all writers."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nephi.geometry import Grid
from nephi.images import Image
from nephi.io import read_image, write_image

ITK_FORMATS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")


def load(path: Path) -> Any:
    """Load a file with nibabel, untyped: its types are those of the base class."""
    return nibabel.load(path)


def ramp(grid: Grid) -> Image:
    return Image(torch.arange(grid.size, dtype=torch.int16).reshape(grid.shape), grid)


def require_same_grid_and_values(image: Image, itk_image: sitk.Image) -> None:
    """Assert that every voxel has the same value and world position in both images."""
    assert itk_image.GetSize() == image.grid.shape
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(itk_image).T, image.data.numpy())
    flip = np.array([-1, -1, 1])[: image.dimension]
    for index in np.ndindex(image.grid.shape):
        ours = image.grid.voxel_to_world_points(torch.tensor(index, dtype=torch.float64)).numpy()
        theirs = np.array(itk_image.TransformIndexToPhysicalPoint(index)) * flip
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("suffix", ITK_FORMATS)
def test_itk_reads_what_we_write(tmp_path: Path, grid: Grid, suffix: str) -> None:
    write_image(ramp(grid), tmp_path / f"a{suffix}")
    itk_image = sitk.ReadImage(str(tmp_path / f"a{suffix}"))
    assert itk_image.GetPixelID() == sitk.sitkInt16
    assert itk_image.GetDimension() == grid.dimension
    require_same_grid_and_values(ramp(grid), itk_image)


@pytest.mark.parametrize("suffix", ITK_FORMATS)
def test_we_read_what_itk_writes(tmp_path: Path, grid: Grid, suffix: str) -> None:
    write_image(ramp(grid), tmp_path / "ours.mha")
    itk_image = sitk.ReadImage(str(tmp_path / "ours.mha"))
    sitk.WriteImage(itk_image, str(tmp_path / f"a{suffix}"), useCompression=suffix != ".nrrd")
    require_same_grid_and_values(read_image(tmp_path / f"a{suffix}"), itk_image)


@pytest.mark.parametrize("kind", [sitk.sitkUInt8, sitk.sitkUInt16, sitk.sitkInt32, sitk.sitkFloat64, sitk.sitkInt64])
@pytest.mark.parametrize("suffix", [".nii", ".mha", ".nrrd"])
def test_pixel_types_of_itk(tmp_path: Path, grid_3d: Grid, suffix: str, kind: int) -> None:
    write_image(ramp(grid_3d), tmp_path / "ours.mha")
    itk_image = sitk.Cast(sitk.ReadImage(str(tmp_path / "ours.mha")), kind)
    sitk.WriteImage(itk_image, str(tmp_path / f"a{suffix}"))
    image = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(image.data.numpy(), sitk.GetArrayViewFromImage(itk_image).T)
    write_image(image, tmp_path / f"b{suffix}")
    assert sitk.ReadImage(str(tmp_path / f"b{suffix}")).GetPixelID() == kind


def test_memory_of_itk_is_kept_as_long_as_the_tensor(tmp_path: Path, grid_3d: Grid) -> None:
    write_image(ramp(grid_3d), tmp_path / "a.mha")
    tensors = [read_image(tmp_path / "a.mha").data for _ in range(20)]
    assert all(torch.equal(t, ramp(grid_3d).data) for t in tensors)
    tensors[0].fill_(-1)
    assert torch.equal(tensors[1], ramp(grid_3d).data)


@pytest.mark.parametrize("axes", ["RAS", "LAS", "LPS", "PIR", "ASL"])
def test_nibabel_agrees_in_every_orientation(tmp_path: Path, grid_3d: Grid, axes: str) -> None:
    image = ramp(grid_3d)
    write_image(image, tmp_path / "a.nii.gz")
    first = load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(first.affine, grid_3d.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(first.dataobj), image.data)
    orientation = nibabel.orientations.axcodes2ornt(axes)
    turned = first.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(first.affine), orientation))
    nibabel.save(turned, tmp_path / "b.nii")
    back = read_image(tmp_path / "b.nii")
    np.testing.assert_array_equal(back.data.numpy(), np.asarray(turned.dataobj))
    np.testing.assert_allclose(back.grid.affine, turned.affine, atol=1e-4)
    require_same_grid_and_values(back, sitk.ReadImage(str(tmp_path / "b.nii")))


def test_nibabel_reads_2d(tmp_path: Path, grid_2d: Grid) -> None:
    write_image(ramp(grid_2d), tmp_path / "a.nii")
    nibabel_image = load(tmp_path / "a.nii")
    assert nibabel_image.shape == grid_2d.shape
    np.testing.assert_allclose(nibabel_image.affine[np.ix_([0, 1, 3], [0, 1, 3])], grid_2d.affine, atol=1e-5)


def test_nrrd_in_ras(tmp_path: Path) -> None:
    """3-D Slicer writes LPS, others RAS; the file states the space."""
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: {}\nsizes: 2 3 4\nspace directions: (2,0,0) (0,3,0) (0,0,4)\n"
        "kinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: (10,20,30)\n\n"
    )
    voxels = np.arange(24, dtype="<i2").tobytes()
    for space, origin in (
        ("right-anterior-superior", [10, 20, 30]),
        ("left-posterior-superior", [-10, -20, 30]),
    ):
        (tmp_path / "a.nrrd").write_bytes(header.format(space).encode() + voxels)
        image = read_image(tmp_path / "a.nrrd")
        assert image.grid.origin.tolist() == origin
        assert int(image.data[1, 2, 3]) == 1 + 2 * 2 + 3 * 6


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_flat_pictures(tmp_path: Path, suffix: str) -> None:
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5)
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(tmp_path / f"a{suffix}"))
    image = read_image(tmp_path / f"a{suffix}")
    assert image.grid.shape == (5, 4)
    np.testing.assert_array_equal(image.data.numpy(), pixels.T)
    require_same_grid_and_values(image, sitk.ReadImage(str(tmp_path / f"a{suffix}")))


def test_the_lung_pair(tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "lung_ct" / "fixed.mha"
    image = read_image(path)
    itk_image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(itk_image).T, image.data.numpy())
    write_image(image, tmp_path / "a.nii.gz")
    again = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    last = [n - 1 for n in image.grid.shape]
    for index in ([0, 0, 0], last):
        np.testing.assert_allclose(
            again.TransformIndexToPhysicalPoint(index), itk_image.TransformIndexToPhysicalPoint(index), atol=1e-3
        )
