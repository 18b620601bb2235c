"""Write and read images in every format."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.io import read_image, write_image

SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr", ".NII.GZ")


def load(path: Path) -> Any:
    """Load a file with nibabel, untyped: its types are those of the base class."""
    return nibabel.load(path)


def ramp(grid: Grid, dtype: torch.dtype = torch.int16) -> Image:
    data = torch.arange(grid.size, dtype=torch.float64).reshape(grid.shape) * 3 - 40
    return Image(data.to(dtype), grid)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path: Path, grid: Grid, suffix: str) -> None:
    image = ramp(grid)
    path = tmp_path / f"image{suffix}"
    write_image(image, path)
    back = read_image(path)
    assert back.data.dtype == torch.int16
    assert torch.equal(back.data, image.data)
    torch.testing.assert_close(back.grid.affine, grid.affine, rtol=0, atol=2e-5)  # NIfTI stores float32
    assert back.name == str(path)
    assert read_image(path, "fixed").name == "fixed"


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize(
    "stored", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]
)
def test_the_type_in_the_file_is_kept(tmp_path: Path, grid_3d: Grid, suffix: str, stored: str) -> None:
    held = {"uint16": torch.int32, "uint32": torch.int64, "int64": torch.int32, "float64": torch.float32}
    data = ramp(grid_3d, torch.float32).data.abs() % 100
    dtype = held.get(stored) or getattr(torch, stored)
    write_image(Image(data.to(dtype), grid_3d, stored_type=stored), tmp_path / f"a{suffix}")
    back = read_image(tmp_path / f"a{suffix}")
    assert back.voxel_type == stored
    assert torch.equal(back.data.float(), data)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_both_memory_orders_are_written(tmp_path: Path, grid_3d: Grid, suffix: str) -> None:
    image = ramp(grid_3d)
    fortran = replace(image, data=image.data.permute(2, 1, 0).contiguous().permute(2, 1, 0))
    write_image(image, tmp_path / f"c{suffix}")
    write_image(fortran, tmp_path / f"f{suffix}")
    assert (tmp_path / f"c{suffix}").read_bytes() == (tmp_path / f"f{suffix}").read_bytes()
    assert torch.equal(read_image(tmp_path / f"f{suffix}").data, image.data)


def test_several_slabs_make_one_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid_3d: Grid) -> None:
    monkeypatch.setattr("nephi.images.voxels.SLAB_VOXELS", 40)
    image = replace(ramp(grid_3d, torch.int32), stored_type="uint16")
    image = replace(image, data=image.data.abs() + 60000)
    write_image(image, tmp_path / "a.nii.gz")
    assert torch.equal(read_image(tmp_path / "a.nii.gz").data, image.data)


def test_headers_written(tmp_path: Path, grid: Grid) -> None:
    write_image(ramp(grid), tmp_path / "a.nii")
    header = load(tmp_path / "a.nii").header
    assert header["dim"][0] == grid.dimension
    assert (header["qform_code"], header["sform_code"]) == (1, 1)
    assert header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    np.testing.assert_allclose(header["pixdim"][1 : grid.dimension + 1], grid.spacing, rtol=1e-6)


def test_shear_is_stored_in_the_sform_only(tmp_path: Path, sheared_grid: Grid) -> None:
    write_image(ramp(sheared_grid), tmp_path / "a.nii")
    header = load(tmp_path / "a.nii").header
    assert (header["qform_code"], header["sform_code"]) == (0, 1)
    torch.testing.assert_close(read_image(tmp_path / "a.nii").grid.affine, sheared_grid.affine, rtol=0, atol=2e-5)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_itk_formats_refuse_shear(tmp_path: Path, sheared_grid: Grid, suffix: str) -> None:
    with pytest.raises(DataError, match=r"a\.\w+: expected perpendicular axes for .*, found a sheared grid"):
        write_image(ramp(sheared_grid), tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.png", "a.nii.bz2", "a", "a.jpg"])
def test_unknown_suffix_to_write(tmp_path: Path, grid_3d: Grid, name: str) -> None:
    with pytest.raises(UsageError, match=r"expected an image to be written as \.nii"):
        write_image(ramp(grid_3d), tmp_path / name)


def test_equal_images_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid_3d: Grid) -> None:
    write_image(ramp(grid_3d), tmp_path / "a.nii.gz")
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_image(ramp(grid_3d), tmp_path / "another name.nii.gz")
    first = (tmp_path / "a.nii.gz").read_bytes()
    assert first == (tmp_path / "another name.nii.gz").read_bytes()
    assert first[3:8] == bytes(5)  # no file name flag, no time stamp


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid_3d: Grid) -> None:
    path = tmp_path / "a.nii.gz"
    write_image(ramp(grid_3d), path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nephi.io.nifti.writer.encode_voxels", fail)
    with pytest.raises(DataError, match="No space left"):
        write_image(ramp(grid_3d, torch.float32), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_image_can_be_written_over_its_own_file(tmp_path: Path, grid_3d: Grid) -> None:
    write_image(ramp(grid_3d), tmp_path / "a.nii")
    mapped = read_image(tmp_path / "a.nii")
    write_image(mapped, tmp_path / "a.nii")
    assert torch.equal(read_image(tmp_path / "a.nii").data, ramp(grid_3d).data)
    assert torch.equal(mapped.data, ramp(grid_3d).data)


def test_axis_too_long_for_nifti(tmp_path: Path) -> None:
    image = Image(torch.zeros(32768, 2, dtype=torch.uint8), Grid.from_spacing((32768, 2), (1, 1)))
    with pytest.raises(DataError, match=r"at most 32767 voxels per axis for NIfTI-1, found \(32768, 2\)"):
        write_image(image, tmp_path / "a.nii")
