"""Fields whose header does not state a convention: rejected, or read by the convention that the user gives."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.io import FieldConvention, read_displacement

AFFINE = np.array([[-2.0, 0, 0, 10], [0, -1.5, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1]])
SHAPE = (4, 5, 6)


def save(path: Path, shape: tuple[int, ...], intent: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    image = nibabel.Nifti1Image(vectors, AFFINE)
    image.header.set_intent(intent)
    nibabel.save(image, path)
    return vectors.reshape(*SHAPE, 3).astype(np.float64)


@pytest.mark.parametrize("shape", [(*SHAPE, 3), (*SHAPE, 1, 3)])
@pytest.mark.parametrize(
    ("name", "scale"),
    [("itk", [-1, -1, 1]), ("slicer", [1, 1, 1]), ("learn2reg", [-2, -1.5, 3]), ("fsl", [1, -1, 1])],
)
def test_fields_are_read_by_the_users_convention(
    tmp_path: Path, shape: tuple[int, ...], name: str, scale: list[float]
) -> None:
    """The voxel axes point left, back and up; learn2reg and fsl vectors (first axis reversed) are along them."""
    vectors = save(tmp_path / "u.nii.gz", shape)
    with pytest.raises(DataError, match=r"u\.nii\.gz: expected .*state its convention by --transform-format"):
        read_displacement(tmp_path / "u.nii.gz")
    field = read_displacement(tmp_path / "u.nii.gz", FieldConvention(name))
    np.testing.assert_allclose(field.displacement, vectors * np.array(scale), rtol=1e-5)


def test_the_users_convention_overrides_the_header(tmp_path: Path) -> None:
    """nitransforms writes LPS vectors with intent 1006, which stands for RAS."""
    vectors = save(tmp_path / "u.nii", (*SHAPE, 1, 3), 1006)
    field = read_displacement(tmp_path / "u.nii", FieldConvention("itk"))
    np.testing.assert_allclose(field.displacement, vectors * np.array([-1, -1, 1]), rtol=1e-6)


def test_the_users_fixed_image_replaces_the_grid_of_the_header(tmp_path: Path) -> None:
    vectors = save(tmp_path / "u.nii", (*SHAPE, 3))
    grid = Grid.from_spacing(SHAPE, (1.0, 2.0, 4.0), (5.0, 6.0, 7.0))
    field = read_displacement(tmp_path / "u.nii", FieldConvention("learn2reg", fixed=grid))
    assert field.grid.same_as(grid)
    np.testing.assert_allclose(field.displacement, vectors * np.array([1, 2, 4]), rtol=1e-5)
    with pytest.raises(DataError, match=r"u\.nii: expected a fixed image to match the field's \(4, 5, 6\), found \(3,"):
        read_displacement(tmp_path / "u.nii", FieldConvention("learn2reg", fixed=Grid((3, 3, 3), torch.eye(4))))
    with pytest.raises(DataError, match="expected a moving image to match"):
        read_displacement(tmp_path / "u.nii", FieldConvention("fsl", moving=Grid((3, 3), torch.eye(3))))


@pytest.mark.parametrize(
    ("shape", "intent", "message"),
    [
        ((*SHAPE, 3), 2006, "found a field of FSL, which depends on the moving image; give --transform-format fsl"),
        ((*SHAPE, 3), 2007, "found spline coefficients of FSL; convert them with FSL's fnirtfileutils"),
    ],
)
def test_fields_of_fsl_need_a_convention(tmp_path: Path, shape: tuple[int, ...], intent: int, message: str) -> None:
    save(tmp_path / "u.nii", shape, intent)
    with pytest.raises(DataError, match=rf"u\.nii: .*{message}"):
        read_displacement(tmp_path / "u.nii")


def test_shapes_of_no_convention_are_rejected(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 4), np.float32), AFFINE), tmp_path / "u.nii")
    with pytest.raises(DataError, match=r"u\.nii: expected a displacement field of shape .*found \(4, 5, 6, 4\)"):
        read_displacement(tmp_path / "u.nii", FieldConvention("learn2reg"))
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 1, 1, 2), np.float32), AFFINE), tmp_path / "flat.nii")
    with pytest.raises(DataError, match=r"flat\.nii: expected a 3-D field for the convention fsl"):
        read_displacement(tmp_path / "flat.nii", FieldConvention("fsl"))
