"""Single slices in files of three axes are 2-D in every format, and results keep their height."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nephi.errors import DataError
from nephi.geometry import Grid, Plane
from nephi.images import Image, resample
from nephi.io import (
    export_transform,
    image_grid,
    read_displacement,
    read_image,
    read_series,
    write_displacement,
    write_image,
    write_series,
)
from nephi.transforms import AffineTransform

AXIAL = np.array([[0.6, -1.6, 0, 5.0], [0.8, 1.2, 0, -7.0], [0, 0, -3, 44.0], [0, 0, 0, 1]])  # left-handed: z turned
FLIP = np.diag([-1.0, -1, 1, 1])
SHIFT = AffineTransform.translation(torch.tensor([1.0, -2.0], dtype=torch.float64))


def voxels(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def save(path: Path, axes: int = 3) -> Path:
    """Write one slice, in a format of ITK or NIfTI, with two or three axes."""
    data = voxels(8, 6) if axes == 2 else voxels(8, 6, 1)
    if path.suffix in (".nii", ".gz"):
        nibabel.save(nibabel.Nifti1Image(data, AXIAL), path)
        return path
    image = sitk.GetImageFromArray(data.T)
    lps = FLIP @ AXIAL
    spacing = np.linalg.norm(lps[:axes, :axes], axis=0)
    image.SetSpacing(spacing)
    image.SetDirection((lps[:axes, :axes] / spacing).ravel())
    image.SetOrigin(lps[:axes, 3])
    sitk.WriteImage(image, str(path))
    return path


def matrix_of_itk(path: Path) -> Any:
    """Return the 4x4 matrix, in RAS, of SimpleITK's three-dimensional image of a file."""
    image = sitk.ReadImage(str(path))
    assert image.GetDimension() == 3
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return FLIP @ matrix


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"])
def test_one_slice_is_2d_in_every_format(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}")
    image = read_image(path)
    assert image.grid.shape == (8, 6)
    np.testing.assert_array_equal(image.data.numpy(), voxels(8, 6))
    np.testing.assert_allclose(image.grid.affine, AXIAL[[0, 1, 3]][:, [0, 1, 3]], atol=1e-6)
    assert image.grid.plane == Plane(44.0, -3.0)
    assert image_grid(path).plane == image.grid.plane


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_files_of_two_axes_fit_those_of_three(tmp_path: Path, suffix: str) -> None:
    flat, slice_ = read_image(save(tmp_path / f"a{suffix}", axes=2)), read_image(save(tmp_path / "b.nii"))
    assert flat.grid.same_as(slice_.grid)
    assert flat.grid.plane is None


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_an_upright_slice_is_refused(tmp_path: Path, suffix: str) -> None:
    image = sitk.GetImageFromArray(voxels(1, 6, 8))
    image.SetDirection((1, 0, 0, 0, 0, 1, 0, -1, 0))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    with pytest.raises(DataError, match="axes of a 2-D image in the world's x-y plane"):
        read_image(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("source", [".nii", ".mha", ".nrrd"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd"])
def test_results_keep_the_height_and_the_third_axis(tmp_path: Path, source: str, suffix: str) -> None:
    reference = read_image(save(tmp_path / f"a{source}"))
    moving = Image(torch.ones(9, 9), Grid.from_spacing((9, 9), (2.0, 2.0)))
    path = tmp_path / f"warped{suffix}"
    write_image(resample(moving, reference.grid, SHIFT), path)
    np.testing.assert_allclose(matrix_of_itk(path), AXIAL, atol=1e-5)
    assert read_image(path).grid.plane == reference.grid.plane


def test_a_file_of_two_axes_keeps_its_height(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.nii", axes=2))
    assert image.grid.plane == Plane(44.0)
    write_image(image, tmp_path / "b.nii")
    written: Any = nibabel.load(tmp_path / "b.nii")
    assert written.shape == (8, 6)
    assert written.affine[2, 3] == 44
    assert sitk.ReadImage(str(tmp_path / "b.nii")).GetDimension() == 2


@pytest.mark.parametrize("name", ["warp.nii.gz", "exported.nii"])
def test_fields_keep_the_height(tmp_path: Path, name: str) -> None:
    grid = read_image(save(tmp_path / "a.nii")).grid
    path = tmp_path / name
    if name == "warp.nii.gz":
        write_displacement(path, SHIFT, grid)
    else:
        export_transform(SHIFT, grid, path)
    field: Any = nibabel.load(path)
    assert field.shape == (8, 6, 1, 1, 2)
    np.testing.assert_allclose(field.affine, AXIAL, atol=1e-5)
    assert read_displacement(path).grid.plane == grid.plane
    flat = sitk.ReadImage(str(path))  # ITK reads fields of two components in 2-D, without the height
    np.testing.assert_allclose(flat.GetOrigin(), (-5, 7), atol=1e-5)


def test_series_keep_the_height(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.nii"))
    write_series(tmp_path / "b.nii", [image, image], 2)
    written: Any = nibabel.load(tmp_path / "b.nii")
    assert written.shape == (8, 6, 1, 2)
    np.testing.assert_allclose(written.affine, AXIAL, atol=1e-5)
    assert read_series(tmp_path / "b.nii").grid.plane == image.grid.plane


def test_lattices_made_of_a_slice_stay_in_its_plane(grid_2d: Grid) -> None:
    grid = Grid(grid_2d.shape, grid_2d.affine, Plane(12.0, 2.0))
    for made in (grid.divided((3, 4)), grid.covering(grid_2d), grid.transformed(torch.eye(3))):
        assert made.plane == grid.plane
    assert grid.in_space().shape == (*grid.shape, 1)
    corners = torch.cat([grid.corners_world(), torch.full((4, 1), 12.0)], dim=1)
    torch.testing.assert_close(grid.in_space().corners_world()[::2], corners)
