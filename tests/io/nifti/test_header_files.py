"""Pairs of NIfTI and Analyze files, and volumes of FreeSurfer."""

import gzip
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from nephi.errors import DataError, DataWarning, collected_warnings
from nephi.io import image_grid, read_image, read_series
from tests.io.nifti.test_position import affine_of_itk

OBLIQUE = np.array([[0.0, -1.2, 0.5, 10.0], [0.9, 0.0, 0.0, -20.0], [0.0, 0.3, 2.0, 30.0], [0.0, 0.0, 0.0, 1.0]])
TURNED = np.array([[0.0, -1.2, 0.0, 10.0], [0.9, 0.0, 0.0, -20.0], [0.0, 0.0, 2.0, 30.0], [0.0, 0.0, 0.0, 1.0]])


def voxels(*shape: int, dtype: Any = np.int16) -> Any:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("named", [".hdr", ".img"])
def test_pairs_of_nifti(tmp_path: Path, suffix: str, named: str) -> None:
    nibabel.save(nibabel.Nifti1Pair(voxels(4, 5, 6), OBLIQUE), tmp_path / f"a.img{suffix}")
    path = tmp_path / f"a{named}{suffix}"
    image = read_image(path)
    np.testing.assert_array_equal(image.data.numpy(), voxels(4, 5, 6))
    np.testing.assert_allclose(image.grid.affine, OBLIQUE, rtol=1e-6)
    assert image.voxel_type == "int16"
    assert image_grid(path).same_as(image.grid)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_the_grid_of_analyze_is_that_of_itk(tmp_path: Path, dtype: Any, big: bool) -> None:
    header = nibabel.AnalyzeHeader(endianness=">" if big else "<")
    header.set_data_dtype(dtype)
    image = nibabel.AnalyzeImage(voxels(4, 5, 6, dtype=dtype), None, header)
    image.header.set_zooms((2.0, 3.0, 2.5))
    image.to_filename(tmp_path / "a.img")
    with pytest.warns(DataWarning, match=r"a\.img: Analyze 7\.5 files have no position"):
        found = read_image(tmp_path / "a.img")
    np.testing.assert_array_equal(found.data.numpy(), voxels(4, 5, 6, dtype=dtype))
    np.testing.assert_allclose(found.grid.affine, affine_of_itk(tmp_path / "a.hdr"))


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
def test_an_unused_factor_of_spm_gives_a_warning(tmp_path: Path) -> None:
    image = nibabel.Spm2AnalyzeImage(voxels(4, 5, 6), np.diag([-2.0, 3, 2.5, 1]))
    image.to_filename(tmp_path / "a.img")
    contents = bytearray((tmp_path / "a.hdr").read_bytes())
    contents[112:116] = np.float32(0.5).tobytes()
    (tmp_path / "a.hdr").write_bytes(contents)
    with collected_warnings() as texts:
        found = read_image(tmp_path / "a.img")
    np.testing.assert_array_equal(found.data.numpy(), voxels(4, 5, 6))
    assert [("has 0.5 in funused1, where SPM" in text, "no position" in text) for text in texts] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_volumes_of_freesurfer(tmp_path: Path, suffix: str, dtype: Any) -> None:
    path = tmp_path / f"a{suffix}"
    nibabel.save(nibabel.MGHImage(voxels(4, 5, 6, dtype=dtype), OBLIQUE), path)
    image = read_image(path)
    np.testing.assert_array_equal(image.data.numpy(), voxels(4, 5, 6, dtype=dtype))
    np.testing.assert_allclose(image.grid.affine, OBLIQUE, atol=1e-5)
    assert image.warnings == ()
    assert image_grid(path).same_as(image.grid)


@pytest.mark.parametrize("name", ["a.img", "a.hdr.gz", "a.mgz"])
def test_series(tmp_path: Path, name: str) -> None:
    data = voxels(4, 5, 6, 3, dtype=np.float32)
    kind = nibabel.MGHImage if name == "a.mgz" else nibabel.Nifti1Pair
    nibabel.save(kind(data, TURNED), tmp_path / name)
    series = read_series(tmp_path / name)
    assert len(series) == 3
    np.testing.assert_array_equal(np.stack([v.data.numpy() for v in series], -1), data)
    with pytest.raises(DataError, match="found a 4-D series of 3 volumes"):
        read_image(tmp_path / name)


def test_no_position_in_mgh(tmp_path: Path) -> None:
    path = tmp_path / "a.mgh"
    nibabel.save(nibabel.MGHImage(voxels(4, 6, 8), OBLIQUE), path)
    contents = bytearray(path.read_bytes())
    contents[28:30] = bytes(2)
    path.write_bytes(contents)
    with pytest.warns(DataWarning, match=r"a\.mgh: the header has no position"):
        grid = read_image(path).grid
    expected = [[-1, 0, 0, 2], [0, 0, 1, -4], [0, -1, 0, 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(grid.affine, expected)


def test_a_missing_file_of_a_pair_is_named(tmp_path: Path) -> None:
    for present, missing, what in (("img", "hdr", "header"), ("hdr", "img", "voxels")):
        folder = tmp_path / present
        folder.mkdir()
        nibabel.save(nibabel.Nifti1Pair(voxels(4, 5, 6), OBLIQUE), folder / "a.img")
        (folder / f"a.{missing}").unlink()
        with pytest.raises(DataError, match=rf"a\.{present}: expected its {what} in a\.{missing} or"):
            read_image(folder / f"a.{present}")


def test_one_file_under_the_name_of_a_pair(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels(4, 5, 6), OBLIQUE), tmp_path / "a.nii")
    shutil.copy(tmp_path / "a.nii", tmp_path / "a.img")
    shutil.copy(tmp_path / "a.nii", tmp_path / "a.hdr")
    with pytest.raises(DataError, match=r"found header and voxels in one file; name it \.nii"):
        read_image(tmp_path / "a.img")


@pytest.mark.parametrize("cut", [100, 300, 390])
def test_truncated_files(tmp_path: Path, cut: int) -> None:
    nibabel.save(nibabel.Nifti1Pair(voxels(4, 5, 6), OBLIQUE), tmp_path / "a.img")
    nibabel.save(nibabel.MGHImage(voxels(4, 5, 6), OBLIQUE), tmp_path / "a.mgh")
    (tmp_path / "a.mgz").write_bytes(gzip.compress((tmp_path / "a.mgh").read_bytes()[:cut]))
    (tmp_path / "a.mgh").write_bytes((tmp_path / "a.mgh").read_bytes()[:cut])
    (tmp_path / "a.img").write_bytes((tmp_path / "a.img").read_bytes()[: cut // 2])
    for name in ("a.img", "a.hdr", "a.mgh", "a.mgz"):
        with pytest.raises(DataError, match=f"{name}: expected"):
            read_image(tmp_path / name)
