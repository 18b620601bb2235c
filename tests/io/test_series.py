"""Series over time, one volume at a time."""

import gzip
import weakref
from collections.abc import Iterator
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
from nephi.io import Series, read_series, write_image, write_series

COUNT = 4


def load(path: Path) -> Any:
    """Load a file with nibabel, untyped: its types are those of the base class."""
    return nibabel.load(path)


def volumes(grid: Grid, dtype: torch.dtype = torch.int16) -> list[Image]:
    base = torch.arange(grid.size).reshape(grid.shape)
    return [Image((base + 1000 * i).to(dtype), grid) for i in range(COUNT)]


def timed(grid: Grid) -> Series:
    return Series("given", grid, COUNT, 2.5, "sec", lambda: iter([]))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_round_trip(tmp_path: Path, grid: Grid, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_series(path, iter(volumes(grid)), COUNT, timed(grid))
    series = read_series(path)
    assert len(series) == COUNT
    assert series.grid.same_as(grid)
    assert (series.time_step, series.time_unit) == (2.5, "sec")
    for _ in range(2):  # a series can be gone through again
        back = list(series)
        assert all(torch.equal(b.data, v.data) for b, v in zip(back, volumes(grid), strict=True))
    assert back[3].name == f"{path}, volume 3"


def test_the_file_is_what_nibabel_expects(tmp_path: Path, grid: Grid) -> None:
    write_series(tmp_path / "a.nii", volumes(grid), COUNT, timed(grid))
    found = load(tmp_path / "a.nii")
    assert found.shape == (*grid.shape, *(1,) * (3 - grid.dimension), COUNT)
    assert found.header.get_xyzt_units() == ("mm", "sec")
    assert found.header["pixdim"][4] == 2.5
    expected = torch.stack([v.data for v in volumes(grid)], dim=-1).numpy()
    np.testing.assert_array_equal(np.squeeze(found.get_fdata()), expected)


def test_one_volume_is_written_in_3d_and_read_from_any_format(tmp_path: Path, grid_3d: Grid) -> None:
    image = volumes(grid_3d)[1]
    write_series(tmp_path / "a.nii.gz", [image], 1)
    assert load(tmp_path / "a.nii.gz").shape == grid_3d.shape
    write_image(image, tmp_path / "a.mha")
    for name in ("a.nii.gz", "a.mha"):
        series = read_series(tmp_path / name)
        assert len(series) == 1
        (only,) = series
        assert torch.equal(only.data, image.data)


def test_never_two_volumes_in_memory(tmp_path: Path, grid_3d: Grid) -> None:
    write_series(tmp_path / "a.nii.gz", volumes(grid_3d), COUNT)
    alive: list[weakref.ref[torch.Tensor]] = []

    def volumes_with_cleanup() -> Iterator[Image]:
        for volume in read_series(tmp_path / "a.nii.gz"):
            result = volume.with_data(volume.data + 1)
            del volume
            assert sum(r() is not None for r in alive) <= 1  # the volume just written, until its reference is deleted
            alive.append(weakref.ref(result.data))
            yield result
            del result

    write_series(tmp_path / "b.nii.gz", volumes_with_cleanup(), COUNT)
    assert len(alive) == COUNT
    assert [int(v.data[0, 0, 0]) for v in read_series(tmp_path / "b.nii.gz")] == [1, 1001, 2001, 3001]


def test_a_truncated_series(tmp_path: Path, grid_3d: Grid) -> None:
    """An error at once if the file is too short, otherwise at the end of the data."""
    path = tmp_path / "a.nii"
    write_series(path, volumes(grid_3d), COUNT)
    contents = path.read_bytes()
    path.write_bytes(contents[:-1])
    with pytest.raises(DataError, match=r"a\.nii: expected \d+ bytes of voxels, found \d+"):
        read_series(path)
    packed = tmp_path / "a.nii.gz"
    packed.write_bytes(gzip.compress(contents[:-1]))
    volume = iter(read_series(packed))
    for i in range(COUNT - 1):
        assert torch.equal(next(volume).data, volumes(grid_3d)[i].data)
    with pytest.raises(DataError, match=r"a\.nii\.gz: expected \d+ bytes of voxels, found \d+"):
        next(volume)


def test_every_volume_has_the_same_type(tmp_path: Path, grid_3d: Grid) -> None:
    small, large = torch.zeros(grid_3d.shape, dtype=torch.int32), torch.full(grid_3d.shape, 60000, dtype=torch.int32)
    both = [Image(data, grid_3d, stored_type="uint16") for data in (small, large)]
    write_series(tmp_path / "a.nii.gz", both, 2)
    back = list(read_series(tmp_path / "a.nii.gz"))
    assert [(v.data.dtype, v.voxel_type) for v in back] == [(torch.int32, "uint16")] * 2
    assert torch.equal(back[1].data, large)


def test_scaled_volumes(tmp_path: Path, grid_3d: Grid) -> None:
    path = tmp_path / "a.nii"
    write_series(path, volumes(grid_3d), COUNT)
    contents = bytearray(path.read_bytes())
    contents[112:120] = np.array([1, -1024], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(contents)
    back = list(read_series(path))
    assert {(v.data.dtype, v.voxel_type) for v in back} == {(torch.int32, "int32")}
    assert torch.equal(back[2].data, volumes(grid_3d)[2].data.int() - 1024)


@pytest.mark.parametrize(("given", "message"), [(3, "expected 4 volumes, got 3"), (5, "expected 4 volumes, got more")])
def test_a_wrong_count_is_refused(tmp_path: Path, grid_3d: Grid, given: int, message: str) -> None:
    several = (volumes(grid_3d) * 2)[:given]
    with pytest.raises(UsageError, match=message):
        write_series(tmp_path / "a.nii.gz", several, COUNT)
    assert list(tmp_path.iterdir()) == []


def test_volumes_on_different_grids_are_refused(tmp_path: Path, grid_3d: Grid) -> None:
    first, second = volumes(grid_3d)[:2]
    moved = grid_3d.affine.clone()
    moved[0, 3] += 5
    with pytest.raises(DataError, match=r"odd one: expected the grid of the first volume of .*a\.nii\.gz"):
        write_series(
            tmp_path / "a.nii.gz", [first, replace(second, grid=Grid(grid_3d.shape, moved), name="odd one")], 2
        )


@pytest.mark.parametrize(("name", "count"), [("a.mha", 2), ("a", 2), ("a.nii", 0)])
def test_wrong_calls(tmp_path: Path, grid_3d: Grid, name: str, count: int) -> None:
    with pytest.raises(UsageError, match="a series"):
        write_series(tmp_path / name, volumes(grid_3d), count)


def test_an_exception_between_volumes_leaves_the_old_file(tmp_path: Path, grid_3d: Grid) -> None:
    path = tmp_path / "a.nii.gz"
    write_series(path, volumes(grid_3d), COUNT)
    before = path.read_bytes()

    def failing() -> Iterator[Image]:
        yield volumes(grid_3d)[3]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_series(path, failing(), COUNT)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_five_axes_are_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5, 2, 2), np.float32), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"found an array of shape \(3, 4, 5, 2, 2\)"):
        read_series(tmp_path / "a.nii")
