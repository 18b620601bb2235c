"""Read displacement fields in the frame that their header states."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nephi.errors import DataError
from nephi.io import read_displacement


def save(path: Path, data: np.ndarray[Any, Any], intent: int, unit: str = "mm") -> Path:
    image = nibabel.Nifti1Image(data, np.diag([1.5, 2, 3, 1]))
    image.header.set_intent(intent)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def vectors(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4"])
def test_the_intent_gives_the_frame(tmp_path: Path, dtype: str) -> None:
    data = vectors(4, 5, 6, 1, 3).astype(dtype)
    ras = torch.from_numpy(data[:, :, :, 0].astype(np.float32))
    read = read_displacement(save(tmp_path / "a.nii.gz", data, 1006))
    torch.testing.assert_close(read.displacement, ras)
    read = read_displacement(save(tmp_path / "a.nii.gz", data, 1007))
    torch.testing.assert_close(read.displacement, ras * torch.tensor([-1.0, -1.0, 1.0]))


def test_one_slice_with_three_components_is_3d(tmp_path: Path) -> None:
    assert read_displacement(save(tmp_path / "a.nii", vectors(4, 5, 1, 1, 3), 1007)).grid.shape == (4, 5, 1)
    assert read_displacement(save(tmp_path / "a.nii", vectors(4, 5, 1, 1, 2), 1007)).grid.shape == (4, 5)


@pytest.mark.parametrize(
    ("shape", "intent", "unit", "message"),
    [
        ((4, 5, 6, 3), 1007, "mm", r"of shape .* found \(4, 5, 6, 3\)"),
        ((4, 5, 6, 1, 2), 1007, "mm", r"found \(4, 5, 6, 1, 2\)"),
        ((4, 5, 6, 2, 3), 1007, "mm", r"found \(4, 5, 6, 2, 3\)"),
        ((4, 5, 6, 1, 4), 1007, "mm", r"found \(4, 5, 6, 1, 4\)"),
        ((4, 5, 6), 0, "mm", r"found \(4, 5, 6\)"),
        ((4, 5, 6, 1, 3), 0, "mm", r"1007 \(LPS vectors\) or 1006 \(RAS vectors\), found 0"),
        ((4, 5, 6, 1, 3), 1005, "mm", r"found 1005"),
        ((4, 5, 6, 1, 3), 1007, "micron", r"found the unit micron"),
    ],
)
def test_fields_without_frame_or_unit_are_refused(
    tmp_path: Path, shape: tuple[int, ...], intent: int, unit: str, message: str
) -> None:
    with pytest.raises(DataError, match=r"a\.nii: expected .*" + message):
        read_displacement(save(tmp_path / "a.nii", vectors(*shape), intent, unit))


@pytest.mark.parametrize(("components", "is_vector"), [(1, False), (2, True), (4, True)])
def test_components_must_match_the_dimension(tmp_path: Path, components: int, is_vector: bool) -> None:
    array = vectors(4, 5, 6, components) if is_vector else vectors(4, 5, 6)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=is_vector), str(tmp_path / "a.mha"))
    with pytest.raises(DataError, match=rf"a\.mha: expected .* 3 real components per voxel, found {components}"):
        read_displacement(tmp_path / "a.mha")


def test_integer_vectors_are_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.Image([4, 5], sitk.sitkVectorUInt8, 2), str(tmp_path / "a.mha"))
    with pytest.raises(DataError, match="2 real components"):
        read_displacement(tmp_path / "a.mha")


def test_an_error_about_nan_names_the_file(tmp_path: Path) -> None:
    data = vectors(4, 5, 6, 1, 3)
    data[0, 0, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match=r"a\.nii: the displacement field holds NaN"):
        read_displacement(save(tmp_path / "a.nii", data, 1007))
