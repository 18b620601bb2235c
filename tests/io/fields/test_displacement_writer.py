"""Write displacement fields: slab by slab to NIfTI, or from memory to the formats of ITK."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.io import DisplacementWriter, read_displacement, write_displacement, write_displacement_itk
from nephi.io.fields.displacement_writer import rounding_step
from nephi.transforms import DisplacementField


def load(path: Path) -> Any:
    """Load a file with nibabel, untyped: its types are those of the base class."""
    return nibabel.load(path)


def smooth_field(grid: Grid) -> Tensor:
    """Return displacements of some millimetres, different along every axis; RAS."""
    points = grid.voxel_centres()
    frequencies = torch.tensor([0.31, 0.17, 0.23])[: grid.dimension]
    return 4 * torch.sin(points * frequencies + points.roll(1, -1) * 0.05)


def write_slabs(path: Path, grid: Grid, field: Tensor, order: list[int]) -> None:
    with DisplacementWriter(path, grid) as writer:
        for k in order:
            writer.write(k, k + 1, field[..., k : k + 1, :])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"])
def test_round_trip(tmp_path: Path, grid: Grid, suffix: str) -> None:
    field = smooth_field(grid)
    path = tmp_path / f"warp{suffix}"
    if suffix in (".nii", ".nii.gz"):
        write_displacement(path, lambda x: x + 4 * torch.sin(x), grid)
        field = 4 * torch.sin(grid.voxel_centres())
    else:
        write_displacement_itk(path, DisplacementField(field, grid))
    back = read_displacement(path)
    torch.testing.assert_close(back.displacement, field, rtol=0, atol=6e-4)
    torch.testing.assert_close(back.grid.affine, grid.affine, rtol=0, atol=2e-5)
    assert back.displacement.dtype == torch.float32
    # Channels last in memory: interpolation reads this order without a copy.
    assert back.displacement.permute(*reversed(range(grid.dimension)), -1).is_contiguous()


def test_layout_of_the_nifti_file(tmp_path: Path, grid: Grid) -> None:
    """5-D, intent 1007, LPS components, both codes 1, millimetres."""
    d, field = grid.dimension, smooth_field(grid)
    write_slabs(tmp_path / "warp.nii.gz", grid, field, list(range(grid.shape[-1])))
    image = load(tmp_path / "warp.nii.gz")
    header = image.header
    assert image.shape == (*grid.shape, *(1,) * (4 - d), d)
    assert list(header["dim"]) == [5, *grid.shape, *(1,) * (4 - d), d, 1, 1]
    assert (header["intent_code"], header["qform_code"], header["sform_code"]) == (1007, 1, 1)
    assert header.get_xyzt_units()[0] == "mm"
    assert header.get_data_dtype() == np.float32
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    lps = field * torch.tensor([-1.0, -1.0, 1.0])[:d]
    np.testing.assert_allclose(np.asarray(image.dataobj).reshape(lps.shape), lps, atol=6e-4)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_slabs_may_come_in_any_order(tmp_path: Path, grid_3d: Grid, suffix: str) -> None:
    field = smooth_field(grid_3d)
    write_slabs(tmp_path / f"a{suffix}", grid_3d, field, [0, 1, 2, 3, 4, 5])
    write_slabs(tmp_path / f"b{suffix}", grid_3d, field, [3, 5, 1, 0, 4, 2])
    with DisplacementWriter(tmp_path / f"c{suffix}", grid_3d) as writer:
        writer.write(0, 6, field.permute(2, 1, 0, 3).contiguous().permute(2, 1, 0, 3))
    first = (tmp_path / f"a{suffix}").read_bytes()
    assert first == (tmp_path / f"b{suffix}").read_bytes() == (tmp_path / f"c{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


def test_rounding_error_and_step(tmp_path: Path, grid_3d: Grid) -> None:
    field = smooth_field(grid_3d)
    write_slabs(tmp_path / "a.nii", grid_3d, field, list(range(6)))
    back = read_displacement(tmp_path / "a.nii").displacement
    error = (back - field).abs().max()
    assert 1e-5 < error <= 0.0005
    assert torch.equal(back * 1024, (back * 1024).round())


@given(st.floats(1e-6, 1e3))
def test_rounding_step_follows_small_voxels(spacing: float) -> None:
    step = rounding_step(Grid.from_spacing((3, 3), (spacing, 1000.0)))
    assert step / 2 <= min(0.0005, spacing / 1024)
    assert step == 2.0**-10 or step > spacing / 1024
    assert step.hex().startswith("0x1.0000000000000p")


def test_a_missing_slice_is_an_error_and_no_file_is_written(tmp_path: Path, grid_3d: Grid) -> None:
    with pytest.raises(UsageError, match=r"warp\.nii\.gz: expected 6 slices, slice 2 was not written"):
        write_slabs(tmp_path / "warp.nii.gz", grid_3d, smooth_field(grid_3d), [0, 1, 3, 4, 5])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_an_exception_leaves_the_old_file(tmp_path: Path, grid_3d: Grid, suffix: str) -> None:
    path = tmp_path / f"warp{suffix}"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), DisplacementWriter(path, grid_3d) as writer:
        writer.write(0, 6, smooth_field(grid_3d))
        raise KeyboardInterrupt
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("start", "stop", "shape"), [(0, 2, (7, 5, 3, 3)), (5, 7, (7, 5, 2, 3)), (0, 2, (7, 5, 2, 2)), (2, 2, (7, 5, 0, 3))]
)
def test_slabs_of_wrong_shape_or_range_are_refused(
    tmp_path: Path, grid_3d: Grid, start: int, stop: int, shape: tuple[int, ...]
) -> None:
    with (
        pytest.raises(UsageError, match=rf"slices {start}:{stop} of 6"),
        DisplacementWriter(tmp_path / "a.nii", grid_3d) as writer,
    ):
        writer.write(start, stop, torch.zeros(shape))


def test_nan_is_refused(tmp_path: Path, grid_3d: Grid) -> None:
    field = smooth_field(grid_3d)
    field[1, 2, 3, 0] = torch.nan
    with pytest.raises(DataError, match=r"a\.nii: expected finite displacements, found NaN or infinity in slices 3:4"):
        write_slabs(tmp_path / "a.nii", grid_3d, field, list(range(6)))


def test_shear_is_refused_at_construction(tmp_path: Path, sheared_grid: Grid) -> None:
    with pytest.raises(DataError, match="expected perpendicular axes for a displacement field"):
        DisplacementWriter(tmp_path / "a.nii", sheared_grid)
    with pytest.raises(DataError, match="expected perpendicular axes for a displacement field"):
        write_displacement_itk(tmp_path / "a.mha", DisplacementField(smooth_field(sheared_grid), sheared_grid))


def test_other_suffixes_are_refused(tmp_path: Path, grid_3d: Grid) -> None:
    with pytest.raises(UsageError, match=r"written as \.nii or \.nii\.gz, got \.mha"):
        DisplacementWriter(tmp_path / "a.mha", grid_3d)
    with pytest.raises(UsageError, match=r"expected one of \.mha"):
        write_displacement_itk(tmp_path / "a.nii", DisplacementField(smooth_field(grid_3d), grid_3d))


def test_equal_fields_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid_3d: Grid) -> None:
    write_slabs(tmp_path / "a.nii.gz", grid_3d, smooth_field(grid_3d), list(range(6)))
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_slabs(tmp_path / "b.nii.gz", grid_3d, smooth_field(grid_3d), list(range(6)))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_displacements_that_require_gradients(tmp_path: Path, grid_3d: Grid) -> None:
    given = smooth_field(grid_3d).requires_grad_()
    before = given.detach().clone()
    with DisplacementWriter(tmp_path / "a.nii", grid_3d) as writer:
        writer.write(0, 6, given)
    assert torch.equal(given, before)
