"""Fields of SPM and NiftyReg, whose intent name states the meaning of the vectors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import map_coordinates

from nephi.errors import DataError, DataWarning
from nephi.geometry import Grid
from nephi.geometry.frames import flip_points
from nephi.io import FieldConvention, read_displacement, read_foreign_transform
from nephi.io.fields.conventions import world_to_tool
from nephi.io.itk import set_geometry
from nephi.transforms import BSplineField, DisplacementField


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Fail on a warning that a test does not expect."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        yield


def save(
    path: Path,
    grid: Grid,
    vectors: torch.Tensor,
    name: str = "",
    kind: float = 0,
    code: int = 1007,
    about: str = "",
    unit: str = "mm",
) -> Path:
    d = grid.dimension
    affine = np.eye(4)
    affine[:d, :d], affine[:d, 3] = grid.affine[:d, :d], grid.affine[:d, d]
    data = vectors.numpy().astype(np.float32).reshape(*grid.shape, *[1] * (4 - d), d)
    image: Any = nibabel.Nifti1Image(data, affine)
    image.header.set_intent(code, name=name)
    image.header["intent_p1"] = kind
    image.header["descrip"] = about
    image.header.set_xyzt_units(unit)
    image.set_qform(affine, 2)
    image.set_sform(affine, 2)
    nibabel.save(image, path)
    return path


def moved(points: torch.Tensor) -> torch.Tensor:
    """Apply a smooth map with an affine part, far from the identity."""
    return points * 1.05 + torch.sin(points.flip(-1) / 20) * 3 + torch.arange(points.shape[-1]) * 4 - 7


@pytest.mark.parametrize(
    ("name", "kind", "positions"),
    [
        ("Mapping", 0, True),
        ("MAPPING", 0, True),
        ("NREG_TRANS", 0, True),
        ("NREG_TRANS", 6, True),
        ("NREG_TRANS", 1, False),
    ],
)
def test_the_intent_name_gives_the_convention(
    tmp_path: Path, grid: Grid, name: str, kind: int, positions: bool
) -> None:
    centres = grid.voxel_centres().double()
    vectors = moved(centres) - (0 if positions else centres)
    read = read_foreign_transform(save(tmp_path / "y.nii", grid, vectors, name, kind))
    assert isinstance(read, DisplacementField)
    torch.testing.assert_close(read(centres), moved(centres), rtol=0, atol=1e-4)
    torch.testing.assert_close(read_displacement(tmp_path / "y.nii").displacement, read.displacement)


@pytest.mark.parametrize("name", ["spm", "niftyreg"])
def test_outside_of_the_grid_the_nearest_displacement_is_used(tmp_path: Path, grid_3d: Grid, name: str) -> None:
    path = save(
        tmp_path / "y.nii.gz",
        grid_3d,
        moved(grid_3d.voxel_centres()),
        {"spm": "Mapping", "niftyreg": "NREG_TRANS"}[name],
    )
    read = read_foreign_transform(path, FieldConvention(name))
    corner, beyond = grid_3d.voxel_to_world_points(torch.tensor([[0.0, 0.0, 0.0], [-3.0, -2.0, -9.0]]).double())
    torch.testing.assert_close(read(beyond) - beyond, read(corner) - corner)


def test_positions_by_the_users_convention(tmp_path: Path, grid_3d: Grid) -> None:
    """MRtrix writes warps as 4-D, without an intent."""
    centres = grid_3d.voxel_centres().double()
    image: Any = nibabel.load(save(tmp_path / "u.nii", grid_3d, moved(centres), code=0))
    path = tmp_path / "warp.nii"
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(dtype=np.float32)[:, :, :, 0], image.affine), path)
    with pytest.raises(DataError, match=r"warp\.nii: expected .* state its convention by --transform-format"):
        read_foreign_transform(path)
    read = read_foreign_transform(path, FieldConvention("spm"))
    torch.testing.assert_close(read(centres), moved(centres), rtol=0, atol=1e-4)


def test_undefined_voxels_get_the_nearest_displacement(tmp_path: Path, grid_3d: Grid) -> None:
    centres = grid_3d.voxel_centres().double()
    vectors = moved(centres)
    vectors[:2, :, :] = float("nan")
    path = save(tmp_path / "y.nii", grid_3d, vectors, "Mapping")
    fraction = 2 / grid_3d.shape[0]
    with pytest.warns(DataWarning, match=rf"y\.nii: {fraction:.2%} of the voxels have no vector \(NaN\)"):
        read = read_foreign_transform(path)
    torch.testing.assert_close(read(centres[2:]), moved(centres[2:]), rtol=0, atol=1e-4)
    assert isinstance(read, DisplacementField)
    sources = read.displacement[2:].reshape(-1, 3)
    gaps = (grid_3d.voxel_centres()[:2].reshape(-1, 1, 3) - grid_3d.voxel_centres()[2:].reshape(1, -1, 3)).norm(dim=-1)
    nearest = sources[(gaps - gaps.min(dim=1, keepdim=True).values < 1e-3).long().argmax(dim=1)]
    exact = (read.displacement[:2].reshape(-1, 3) == nearest).all(dim=-1)
    ties = (gaps - gaps.min(dim=1, keepdim=True).values < 1e-3).sum(dim=1) > 1
    assert bool((exact | ties).all())
    save(tmp_path / "y.nii", grid_3d, vectors * float("nan"), "Mapping")
    with pytest.raises(DataError, match=r"y\.nii: expected a field with finite vectors, found none"):
        read_foreign_transform(tmp_path / "y.nii")


@pytest.mark.parametrize("named", [False, True])
def test_cubic_splines_of_niftyreg(tmp_path: Path, grid: Grid, named: bool) -> None:
    control = grid.voxel_centres().double()
    noise = torch.randn(control.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    positions = moved(control) + 2 * noise
    path = save(tmp_path / "cpp.nii", grid, positions, "NREG_TRANS", 2)
    read = read_foreign_transform(path, FieldConvention("niftyreg") if named else None)
    assert isinstance(read, BSplineField)
    voxel = torch.rand(50, grid.dimension, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    voxel = 1 + voxel * (torch.tensor(grid.shape) - 3)
    expected = [
        map_coordinates(p.float().double().numpy(), voxel.T.numpy(), order=3, prefilter=False)
        for p in positions.unbind(-1)
    ]
    torch.testing.assert_close(
        read(grid.voxel_to_world_points(voxel)), torch.from_numpy(np.stack(expected, -1)), rtol=0, atol=1e-4
    )
    with pytest.raises(DataError, match=r"cpp\.nii: expected a displacement field, found B-splines"):
        read_displacement(path)
    old = save(
        tmp_path / "old.nii", grid, positions, "NREG_CPP_FILE", about="Control point position from NiftyReg (reg_f3d)"
    )
    torch.testing.assert_close(read_foreign_transform(old)(control), read(control))


@pytest.mark.parametrize(
    ("name", "kind", "about", "found"),
    [
        ("NREG_TRANS", 3, "", "a velocity field of positions; convert it with reg_transform"),
        ("NREG_TRANS", 4, "", "a velocity field of displacements"),
        ("NREG_TRANS", 5, "", "a velocity spline grid"),
        ("NREG_TRANS", 7, "", "expected an intent_p1 from 0 to 6 .* found 7"),
        ("NREG_TRANS", 0.5, "", "found 0.5"),
        ("NREG_TRANS", float("nan"), "", "found nan"),
        ("NREG_VEL_STEP", 6, "", "velocities of an old version"),
        ("NREG_CPP_FILE", 0, "Velocity field grid from NiftyReg (reg_f3d2)", "velocities of an old version"),
        ("", 0, "Flow field", "a velocity field of SPM"),
        ("Mapping", 0, "Velocity", "a velocity field of SPM"),
    ],
)
@pytest.mark.parametrize("named", [None, "spm"])
def test_velocities_are_refused(
    tmp_path: Path, grid_3d: Grid, name: str, kind: float, about: str, found: str, named: str | None
) -> None:
    path = save(tmp_path / "v.nii", grid_3d, torch.zeros(*grid_3d.shape, 3), name, kind, about=about)
    with pytest.raises(DataError, match=rf"v\.nii: .*{found}"):
        read_foreign_transform(path, FieldConvention(named) if named else None)


def test_a_convention_that_contradicts_the_header(tmp_path: Path, grid_3d: Grid) -> None:
    vectors = torch.ones(*grid_3d.shape, 3, dtype=torch.float64)
    path = save(tmp_path / "y.nii", grid_3d, vectors, "Mapping")
    with pytest.warns(DataWarning, match=r"y\.nii: .*'Mapping' in the header means positions of SPM; read as itk"):
        read = read_displacement(path, FieldConvention("itk"))
    torch.testing.assert_close(read.displacement.double(), flip_points(vectors))
    with pytest.raises(DataError, match=r"y\.nii: expected the intent name NREG_TRANS of NiftyReg, found 'Mapping'"):
        read_displacement(path, FieldConvention("niftyreg"))


def test_unknown_intent_names_give_a_warning(tmp_path: Path, grid_3d: Grid) -> None:
    vectors = torch.ones(*grid_3d.shape, 3, dtype=torch.float64)
    path = save(tmp_path / "u.nii", grid_3d, vectors, "SOMETHING")
    with pytest.warns(DataWarning, match=r"u\.nii: unknown intent name 'SOMETHING' .* as LPS displacements in mm"):
        read_displacement(path)
    save(path, grid_3d, vectors, "Flow", about="Displacement")
    with pytest.warns(DataWarning, match="unknown intent name 'Flow'"):
        read_displacement(path)


@pytest.mark.parametrize("code", [1006, 1007])
@pytest.mark.parametrize("frame", ["ras", "lps"])
def test_positions_read_as_displacements_give_a_warning(tmp_path: Path, grid: Grid, code: int, frame: str) -> None:
    positions = moved(grid.voxel_centres().double())
    path = save(tmp_path / "u.nii", grid, positions if frame == "ras" else flip_points(positions), code=code)
    with pytest.warns(DataWarning, match=r"u\.nii: read as displacements, but the vectors look like positions"):
        read_displacement(path)
    save(path, grid, positions - grid.voxel_centres(), code=code)
    read_displacement(path)


@pytest.mark.parametrize("name", ["spm", "itk", "slicer", "niftyreg"])
def test_other_units_are_refused_for_any_convention(tmp_path: Path, grid_3d: Grid, name: str) -> None:
    path = save(tmp_path / "u.nii", grid_3d, torch.zeros(*grid_3d.shape, 3), "NREG_TRANS", unit="micron")
    with pytest.raises(DataError, match="found the unit micron"):
        read_displacement(path, FieldConvention(name))


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
@pytest.mark.parametrize("name", ["itk", "greedy", "slicer", "spm", "learn2reg", "fsl"])
def test_the_users_convention_applies_to_files_of_itk(tmp_path: Path, grid_3d: Grid, suffix: str, name: str) -> None:
    """The same vectors as in NIfTI, written by ITK."""
    centres = grid_3d.voxel_centres().double()
    vectors = moved(centres) if name == "spm" else moved(centres) - centres
    nifti = save(tmp_path / "a.nii", grid_3d, vectors, code=0)
    path = tmp_path / f"a{suffix}"
    itk_image = sitk.GetImageFromArray(vectors.float().permute(2, 1, 0, 3).contiguous().numpy(), isVector=True)
    set_geometry(itk_image, grid_3d)
    sitk.WriteImage(itk_image, str(path))
    ours, expected = (read_displacement(file, FieldConvention(name)) for file in (path, nifti))
    assert type(ours) is type(expected)
    torch.testing.assert_close(ours.displacement, expected.displacement, rtol=0, atol=1e-4)
    with pytest.raises(DataError, match=rf"a\{suffix}: expected a NIfTI file for --transform-format niftyreg"):
        read_displacement(path, FieldConvention("niftyreg"))
    with pytest.raises(DataError, match=r"expected a fixed image to match"):
        read_displacement(path, FieldConvention(name, fixed=Grid((3, 3, 3), torch.eye(4))))


@pytest.mark.parametrize("suffix", [".img", ".hdr"])
def test_fields_in_pairs_of_files(tmp_path: Path, grid_3d: Grid, suffix: str) -> None:
    """SPM writes y_*.img in pairs."""
    centres = grid_3d.voxel_centres().double()
    whole: Any = nibabel.load(save(tmp_path / "whole.nii", grid_3d, moved(centres), "Mapping"))
    pair = nibabel.Nifti1Pair(np.asanyarray(whole.dataobj), whole.affine, whole.header)
    nibabel.save(pair, tmp_path / "y.img")
    read = read_foreign_transform(tmp_path / f"y{suffix}")
    torch.testing.assert_close(read(centres), moved(centres), rtol=0, atol=1e-4)
    assert isinstance(read_displacement(tmp_path / f"y{suffix}"), DisplacementField)


@pytest.mark.parametrize("name", ["Mapping", "NREG_TRANS", ""])
def test_displacements_read_as_positions_give_a_warning(tmp_path: Path, grid: Grid, name: str) -> None:
    centres = grid.voxel_centres().double()
    path = save(tmp_path / "y.nii", grid, moved(centres) - centres, name)
    with pytest.warns(DataWarning, match=r"y\.nii: read as positions, but the vectors look like displacements"):
        read_displacement(path, None if name else FieldConvention("spm"))


def test_absolute_warps_of_fsl_are_refused(tmp_path: Path, grid_3d: Grid) -> None:
    centres = grid_3d.voxel_centres().double()
    to_fsl = world_to_tool("fsl", grid_3d)
    places, targets = (points @ to_fsl[:3, :3].T + to_fsl[:3, 3] for points in (centres, moved(centres)))
    relative = save(tmp_path / "relative.nii", grid_3d, targets - places, code=2006)
    torch.testing.assert_close(
        read_displacement(relative, FieldConvention("fsl"))(centres), moved(centres), rtol=0, atol=1e-4
    )
    absolute = save(tmp_path / "absolute.nii", grid_3d, targets, code=2006)
    with pytest.raises(DataError, match=r"absolute\.nii: expected a relative warp of FSL, .* --abs --relout"):
        read_displacement(absolute, FieldConvention("fsl"))


@pytest.mark.parametrize("named", [None, FieldConvention("fsl"), FieldConvention("itk")])
@pytest.mark.parametrize("code", [2007, 2008, 2009, 2016, 2017])
def test_spline_coefficients_of_fsl_are_refused(
    tmp_path: Path, grid_3d: Grid, code: int, named: FieldConvention | None
) -> None:
    path = save(tmp_path / "c.nii", grid_3d, torch.zeros(*grid_3d.shape, 3), code=code)
    with pytest.raises(DataError, match=r"c\.nii: .* found spline coefficients of FSL"):
        read_displacement(path, named)
