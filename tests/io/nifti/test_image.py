"""Read NIfTI headers of all kinds."""

import gzip
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.images import Image, resample
from nephi.io import read_image, slab_writer, write_image
from nephi.io.nifti.writer import write_nifti

OBLIQUE = np.array([[0.0, -1.2, 0.5, 10.0], [0.9, 0.0, 0.0, -20.0], [0.0, 0.3, 2.0, 30.0], [0.0, 0.0, 0.0, 1.0]])


def load(path: Path) -> Any:
    """Load a file with nibabel, untyped: its types are those of the base class."""
    return nibabel.load(path)


def save(path: Path, data: np.ndarray[Any, Any], affine: Any = OBLIQUE, **fields: Any) -> Path:
    """Write header fields unchanged: nibabel would adjust scaling and codes when it saves."""
    header = nibabel.Nifti1Image(data, affine, dtype=data.dtype).header
    header.set_xyzt_units("mm")
    for name, value in {"vox_offset": 352, "scl_slope": 1, "scl_inter": 0, **fields}.items():
        header[name] = value
    contents = header.binaryblock + bytes(4) + data.tobytes(order="F")
    path.write_bytes(gzip.compress(contents) if path.suffix == ".gz" else contents)
    return path


def voxels(*shape: int) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def test_array_and_affine_are_those_of_nibabel(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", voxels(4, 5, 6))
    image = read_image(path)
    np.testing.assert_array_equal(image.data.numpy(), voxels(4, 5, 6))
    np.testing.assert_allclose(image.grid.affine, load(path).affine, rtol=1e-7)


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("unknown", 1), ("meter", 1000), ("micron", 0.001)])
def test_units_become_millimetres(tmp_path: Path, unit: str, factor: float) -> None:
    image = nibabel.Nifti1Image(voxels(4, 5, 6), OBLIQUE)
    image.header.set_xyzt_units(unit, "sec")
    nibabel.save(image, tmp_path / "a.nii")
    affine = read_image(tmp_path / "a.nii").grid.affine.numpy()
    np.testing.assert_allclose(affine[:3], OBLIQUE[:3] * factor, rtol=1e-6)
    assert affine[3].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_ct_scaling_stays_int16(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", voxels(4, 5, 6), scl_slope=1, scl_inter=-1024)
    read = read_image(path)
    assert read.voxel_type == "int16"
    np.testing.assert_array_equal(read.data.numpy(), voxels(4, 5, 6) - 1024)
    np.testing.assert_array_equal(load(path).get_fdata(), voxels(4, 5, 6) - 1024)  # the file is unchanged


def test_fractional_scaling_becomes_float32(tmp_path: Path) -> None:
    read = read_image(save(tmp_path / "a.nii.gz", voxels(4, 5, 6), scl_slope=0.5, scl_inter=0.25))
    assert read.data.dtype == torch.float32
    np.testing.assert_allclose(read.data.numpy(), voxels(4, 5, 6) * 0.5 + 0.25)


def test_a_large_uncompressed_file_is_mapped_and_never_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.nii", voxels(4, 5, 6))
    before = path.read_bytes()
    small = read_image(path)
    assert small.mapping is None
    monkeypatch.setattr("nephi.io.nifti.image.MAPPED_FROM", 0)
    image = read_image(path)
    with open("/proc/self/maps", encoding="utf-8") as maps:
        assert str(path) in maps.read()
    assert torch.equal(image.data, small.data)
    image.data.zero_()
    assert path.read_bytes() == before


@pytest.mark.parametrize("mapped_from", [0, 2**26])
def test_a_file_that_is_truncated_while_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped_from: int
) -> None:
    """Access beyond the end would crash the process: mapped files are verified at each access, small ones are read."""
    monkeypatch.setattr("nephi.io.nifti.image.MAPPED_FROM", mapped_from)
    path = save(tmp_path / "a.nii", voxels(40, 50, 60))
    image = read_image(path)
    copied, held = image.with_data(image.data.clone()), pickle.loads(pickle.dumps(image))
    uses: list[Callable[[Image], object]] = [
        lambda i: i.data,
        lambda i: resample(i, i.grid, lambda points: points),
        lambda i: i.foreground,
        lambda i: i.require_contrast(),
        lambda i: write_image(i, tmp_path / "b.nii"),
        lambda i: replace(i, name="another").data,
    ]
    with open(path, "r+b") as file:
        file.truncate(5000)
    for use in uses:
        use(copied)
        use(held)
        if mapped_from:
            use(image)
            continue
        with pytest.raises(DataError, match=r"a\.nii: expected a file of 240352 bytes, found 5000: it was truncated"):
            use(image)


def test_a_file_that_is_replaced_while_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nephi.io.nifti.image.MAPPED_FROM", 0)
    path = save(tmp_path / "a.nii", voxels(4, 5, 6))
    image = read_image(path)
    path.unlink()
    path.write_bytes(b"short")
    np.testing.assert_array_equal(image.data.numpy(), voxels(4, 5, 6))


def test_big_endian_and_nifti2(tmp_path: Path) -> None:
    big = nibabel.Nifti1Image(voxels(4, 5, 6), OBLIQUE, nibabel.Nifti1Header(endianness=">"))
    nibabel.save(big, tmp_path / "big.nii.gz")
    assert (tmp_path / "big.nii.gz").exists()
    nibabel.save(nibabel.Nifti2Image(voxels(4, 5, 6), OBLIQUE), tmp_path / "two.nii")
    for name in ("big.nii.gz", "two.nii"):
        image = read_image(tmp_path / name)
        np.testing.assert_array_equal(image.data.numpy(), voxels(4, 5, 6))
        np.testing.assert_allclose(image.grid.affine, OBLIQUE, rtol=1e-6)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_header_extensions_are_skipped(tmp_path: Path, suffix: str) -> None:
    image = nibabel.Nifti1Image(voxels(4, 5, 6), OBLIQUE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a note of some length" * 9))
    nibabel.save(image, tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").data.numpy(), voxels(4, 5, 6))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 1, 1)])
def test_one_axial_slice_is_a_2d_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    axial = np.array([[0.8, -0.6, 0, 5.0], [1.2, 0.4, 0, -7.0], [0, 0, 3, 44.0], [0, 0, 0, 1]])
    image = read_image(save(tmp_path / "a.nii", voxels(*shape), axial))
    assert image.grid.shape == (4, 5)
    np.testing.assert_array_equal(image.data.numpy(), voxels(4, 5))
    np.testing.assert_allclose(image.grid.affine, np.array([[0.8, -0.6, 5], [1.2, 0.4, -7], [0, 0, 1]]), rtol=1e-6)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1)])
def test_one_coronal_slice_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    coronal = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    with pytest.raises(DataError, match=r"a\.nii: expected the axes of a 2-D image in the world's x-y plane"):
        read_image(save(tmp_path / "a.nii", voxels(*shape), coronal))


def test_slices_of_one_voxel_along_other_axes_are_volumes(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "a.nii", voxels(1, 5, 6))).grid.shape == (1, 5, 6)


def test_trailing_axes_of_length_one(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "a.nii.gz", voxels(4, 5, 6, 1, 1))).grid.shape == (4, 5, 6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (voxels(3, 4, 5, 6), "found a 4-D series of 6 volumes; pick one, or use nephi apply for series"),
        (voxels(3, 4, 5, 1, 3), "found vectors of 3 components"),
        (voxels(3, 4, 5, 2, 3), r"found an array of shape \(3, 4, 5, 2, 3\)"),
        (voxels(3, 4, 5).astype(np.complex64), "found complex voxels"),
        (np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "found colour voxels"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, data: np.ndarray[Any, Any], message: str) -> None:
    with pytest.raises(DataError, match=r"a\.nii: expected one .*" + message):
        read_image(save(tmp_path / "a.nii", data))


@pytest.mark.filterwarnings("ignore::nephi.errors.DataWarning")
@pytest.mark.parametrize("slope", [0, np.nan])
def test_no_slope_is_no_scaling(tmp_path: Path, slope: float) -> None:
    image = read_image(save(tmp_path / "a.nii", voxels(4, 5, 6), scl_slope=slope, scl_inter=7))
    np.testing.assert_array_equal(image.data.numpy(), voxels(4, 5, 6))


def test_a_singular_affine_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", voxels(4, 5, 6), sform_code=1, srow_z=[0, 0, 0, 0])
    with pytest.raises(DataError, match=r"a\.nii: the voxel-to-world affine is singular"):
        read_image(path)


def test_a_file_written_in_slabs_is_the_same(tmp_path: Path, grid_3d: Grid) -> None:
    voxels = torch.randint(-1000, 1000, grid_3d.shape, dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    image = Image(voxels, grid_3d)
    write_nifti(image, tmp_path / "whole.nii.gz")
    with slab_writer(tmp_path / "slabs.nii.gz", grid_3d, "int16") as append:
        for part in voxels.split(2, dim=-1):
            append(part)
    assert (tmp_path / "slabs.nii.gz").read_bytes() == (tmp_path / "whole.nii.gz").read_bytes()


def test_a_volume_with_missing_slabs_is_not_written(tmp_path: Path, grid_3d: Grid) -> None:
    path = tmp_path / "part.nii"
    missing = pytest.raises(UsageError, match=f"expected {grid_3d.shape[-1]} slices, got 1")
    with missing, slab_writer(path, grid_3d, "int16") as append:
        append(torch.zeros((*grid_3d.shape[:-1], 1), dtype=torch.int16))
    assert not list(tmp_path.iterdir())
