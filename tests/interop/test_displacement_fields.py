"""SimpleITK maps points and resamples images with exported displacement fields as nephi does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.images import Image, resample
from nephi.io import read_displacement, read_image, write_displacement, write_displacement_itk, write_image
from nephi.transforms import DisplacementField

FORMATS = (".nii", ".nii.gz", ".mha", ".nrrd")


def motion(points: Tensor) -> Tensor:
    """A smooth deformation of the world that treats every axis differently; RAS."""
    d = points.shape[-1]
    frequencies = torch.tensor([0.21, 0.13, 0.08])[:d].to(points)
    sizes = torch.tensor([1.5, -1.0, 2.0])[:d].to(points)
    return points + sizes * (torch.sin(points * frequencies + points.roll(1, -1) * 0.05) + 0.3)


def write(path: Path, grid: Grid) -> Path:
    if path.suffix in (".mha", ".nrrd"):
        points = grid.voxel_centres()
        write_displacement_itk(path, DisplacementField(motion(points) - points, grid))
    else:
        write_displacement(path, motion, grid)
    return path


def foreign_field(path: Path) -> sitk.DisplacementFieldTransform:
    image = sitk.ReadImage(str(path))
    kind = sitk.sitkVectorFloat64
    return sitk.DisplacementFieldTransform(sitk.Cast(image, kind))


def random_points(grid: Grid, count: int = 200, margin: float = 0.01) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(count, grid.dimension, generator=generator, dtype=torch.float64)
    last = torch.tensor(grid.shape) - 1
    return grid.voxel_to_world_points(margin + unit * (last - 2 * margin))


def flipped(points: Tensor) -> np.ndarray:
    return np.asarray(points.numpy() * np.array([-1, -1, 1])[: points.shape[-1]])


@pytest.mark.parametrize("suffix", FORMATS)
def test_points_are_mapped_as_by_itk(tmp_path: Path, grid: Grid, suffix: str) -> None:
    path = write(tmp_path / f"warp{suffix}", grid)
    points = random_points(grid)
    itk = foreign_field(path)
    theirs = np.array([itk.TransformPoint(p) for p in flipped(points).tolist()])
    ours = flipped(read_displacement(path)(points))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.abs(theirs - flipped(points)).max() > 1  # the points are displaced
    # And both are close to the exact motion, within linear interpolation on these coarse grids.
    at_voxels = grid.voxel_centres().reshape(-1, grid.dimension).double()
    inside = at_voxels[grid.contains_voxel_points(grid.world_to_voxel_points(at_voxels) * 1.0001)]
    np.testing.assert_allclose(
        [itk.TransformPoint(p) for p in flipped(inside).tolist()], flipped(motion(inside)), atol=2e-3
    )


@pytest.mark.parametrize("suffix", FORMATS)
def test_points_outside_are_fixed_in_both(tmp_path: Path, grid: Grid, suffix: str) -> None:
    path = write(tmp_path / f"warp{suffix}", grid)
    itk, ours = foreign_field(path), read_displacement(path)
    outside = grid.corners_world() * 2 - grid.centre_world()
    theirs = [itk.TransformPoint(p) for p in flipped(outside).tolist()]
    np.testing.assert_allclose(theirs, flipped(outside))
    np.testing.assert_allclose(flipped(ours(outside)), flipped(outside))


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_itk_resamples_to_the_same_image(tmp_path: Path, grid: Grid, suffix: str) -> None:
    """Fixed and moving image on different oblique grids, images and warp all through files."""
    d = grid.dimension
    fixed = Grid(tuple(2 * n for n in grid.shape), grid.affine @ torch.diag(torch.tensor([0.5] * d + [1.0]).double()))
    turned = torch.eye(d + 1, dtype=torch.float64)
    turned[0, 0], turned[0, 1], turned[1, 0], turned[1, 1] = 0.995, -0.0998, 0.0998, 0.995
    turned[:-1, -1] = grid.centre_world() - turned[:-1, :-1] @ grid.centre_world() + 0.7
    moving_grid = grid.transformed(turned)
    data = torch.rand(moving_grid.shape, generator=torch.Generator().manual_seed(1)) * 100
    moving = Image(data, moving_grid)
    write_image(moving, tmp_path / f"moving{suffix}")
    write_image(Image(torch.zeros(fixed.shape, dtype=torch.uint8), fixed), tmp_path / f"fixed{suffix}")
    warp = write(tmp_path / f"warp{suffix}", fixed)
    theirs = sitk.Resample(
        sitk.ReadImage(str(tmp_path / f"moving{suffix}")),
        sitk.ReadImage(str(tmp_path / f"fixed{suffix}")),
        foreign_field(warp),
        sitk.sitkLinear,
        -5.0,
    )
    field = read_displacement(warp)
    ours = resample(read_image(tmp_path / f"moving{suffix}"), fixed, field, "linear", outside=-5.0)
    # Points within a thousandth of a voxel of the image's edge may fall on either side of it.
    voxel = moving_grid.world_to_voxel_points(field(fixed.voxel_centres().double()))
    edge = torch.minimum((voxel + 0.5).abs(), (voxel + 0.5 - torch.tensor(moving_grid.shape)).abs()).amin(-1) < 1e-3
    clear = ~edge.numpy()
    assert clear.mean() > 0.99
    np.testing.assert_allclose(ours.data.numpy()[clear], sitk.GetArrayViewFromImage(theirs).T[clear], atol=0.02)
    filled = ours.data.numpy()[clear] != -5
    assert 0.3 < filled.mean() < 1  # neither all outside nor all inside


def test_a_field_that_itk_wrote(tmp_path: Path, grid: Grid) -> None:
    """ITK writes NIfTI with intent 1006 (RAS) or 1007 (LPS), depending on its version: both are read correctly."""
    write(tmp_path / "ours.mha", grid)
    image = sitk.ReadImage(str(tmp_path / "ours.mha"))
    for suffix in (*FORMATS, ".mhd", ".nhdr"):
        sitk.WriteImage(image, str(tmp_path / f"theirs{suffix}"))
        theirs = read_displacement(tmp_path / f"theirs{suffix}")
        points = random_points(grid)
        itk = sitk.DisplacementFieldTransform(sitk.Cast(image, sitk.sitkVectorFloat64))
        expected = np.array([itk.TransformPoint(p) for p in flipped(points).tolist()])
        np.testing.assert_allclose(flipped(theirs(points)), expected, atol=1e-4)


@pytest.mark.parametrize("make", [sitk.TransformToDisplacementField])
def test_an_itk_transform_as_a_field(tmp_path: Path, grid_3d: Grid, make: Callable[..., sitk.Image]) -> None:
    """SimpleITK's own export of a rigid transform, read by nephi, is that transform."""
    rigid = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.05, -0.1, 0.07, (4.0, -5.0, 6.0))
    write_image(Image(torch.zeros(grid_3d.shape, dtype=torch.uint8), grid_3d), tmp_path / "reference.nii")
    reference = sitk.ReadImage(str(tmp_path / "reference.nii"))
    field = make(
        rigid,
        sitk.sitkVectorFloat32,
        reference.GetSize(),
        reference.GetOrigin(),
        reference.GetSpacing(),
        reference.GetDirection(),
    )
    sitk.WriteImage(field, str(tmp_path / "rigid.nrrd"))
    points = random_points(grid_3d)
    expected = [rigid.TransformPoint(p) for p in flipped(points).tolist()]
    np.testing.assert_allclose(flipped(read_displacement(tmp_path / "rigid.nrrd")(points)), expected, atol=1e-3)
