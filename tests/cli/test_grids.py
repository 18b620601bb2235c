"""Registration on grids with all kinds of axes: the result does not depend on the order of voxels in the file."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import Tensor

import nephi

from .conftest import Call, itk_field, itk_resample

COUNT = (34, 30, 32)
SPACING = (3.6, 4.2, 3.9)
AXES = {
    "RAS": torch.eye(3),
    "LAS": torch.diag(torch.tensor([-1.0, 1.0, 1.0])),  # left-handed, as many NIfTI files
    "LPS": torch.diag(torch.tensor([-1.0, -1.0, 1.0])),
    "sagittal": torch.tensor([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    "oblique": torch.linalg.matrix_exp(torch.tensor([[0.0, -0.4, 0.2], [0.4, 0.0, -0.3], [-0.2, 0.3, 0.0]])),
}
AXES["oblique left-handed"] = AXES["oblique"] @ torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def grid_of(name: str, centre: tuple[float, float, float]) -> nephi.Grid:
    """A grid of about 120 mm around a centre, with the named axes."""
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = AXES[name].double() * torch.tensor(SPACING)
    affine[:3, 3] = torch.tensor(centre) - affine[:3, :3] @ ((torch.tensor(COUNT).double() - 1) / 2)
    return nephi.Grid(COUNT, affine)


def intensity(points: Tensor) -> Tensor:
    """Intensity of forty Gaussian blobs of 9 mm within 45 mm of the centre."""
    generator = torch.Generator().manual_seed(8)
    centres = 90 * (torch.rand(40, 3, generator=generator) - 0.5)
    heights = 300 + 700 * torch.rand(40, generator=generator)
    return sum(
        h * torch.exp(-(points - c).square().sum(-1) / (2 * 9.0**2)) for c, h in zip(centres, heights, strict=True)
    )


def motion(points: Tensor) -> Tensor:
    """Rotation, translation and waves of about 12 mm, 3 mm of which are not affine."""
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.1, 0.0], [0.1, 0.0, 0.05], [0.0, -0.05, 0.0]])).to(points)
    wave = torch.stack([(points[..., 1] / 18).sin(), (points[..., 2] / 22).cos(), (points[..., 0] / 20).sin()], dim=-1)
    return points @ turn.T + torch.tensor([8.0, -5.0, 4.0]).to(points) + 3.0 * wave


def save(folder: Path, fixed: nephi.Grid, moving: nephi.Grid, suffix: str) -> None:
    nephi.write_image(nephi.Image(intensity(motion(fixed.voxel_centres())), fixed), folder / f"fixed{suffix}")
    nephi.write_image(nephi.Image(intensity(moving.voxel_centres()), moving), folder / f"moving{suffix}")


@pytest.mark.parametrize(
    ("fixed", "moving", "suffix"),
    [
        ("RAS", "RAS", ".nii.gz"),
        ("LAS", "oblique", ".nii.gz"),
        ("sagittal", "LPS", ".mha"),
        ("oblique left-handed", "sagittal", ".nii"),
        ("oblique", "oblique left-handed", ".nrrd"),
    ],
)
def test_3d(fixed: str, moving: str, suffix: str, succeed: Call, flat: Path, tmp_path: Path) -> None:
    save(tmp_path, grid_of(fixed, (0.0, 0.0, 0.0)), grid_of(moving, (8.0, -5.0, 4.0)), suffix)
    files = ["-f", tmp_path / f"fixed{suffix}", "-m", tmp_path / f"moving{suffix}"]
    out = tmp_path / "out"
    succeed("register", *files, "-o", out, "--config", flat / "quick.toml")
    points = 70 * (torch.rand(200, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5)
    truth = motion(points)
    flip = torch.tensor([-1.0, -1.0, 1.0]).double()
    for name, start, end in (("warp", points, truth), ("inverse_warp", truth, points)):
        field = itk_field(out / f"{name}.nii.gz")
        mapped = flip * torch.tensor([field.TransformPoint(p) for p in (flip * start).tolist()]).double()
        assert float((end - start).norm(dim=-1).mean()) > 8
        assert float((mapped - end).norm(dim=-1).mean()) < 2.0  # half a voxel
    expected = itk_resample(files[3], files[1], itk_field(out / "warp.nii.gz"), sitk.sitkLinear, 0.0)
    actual = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "warped.nii.gz")))
    assert np.quantile(np.abs(actual - expected), 0.999) < 1.0  # contrast is about 1500
    succeed("apply", "-t", out / "warp.nii.gz", "-i", files[3], "-r", files[1], "-o", tmp_path / f"again{suffix}")
    again = sitk.ReadImage(str(tmp_path / f"again{suffix}"))
    assert np.quantile(np.abs(sitk.GetArrayFromImage(again) - expected), 0.999) < 0.1
    reference = sitk.ReadImage(str(files[1]))
    np.testing.assert_allclose(again.GetDirection(), reference.GetDirection(), atol=1e-5)
    np.testing.assert_allclose(again.GetOrigin(), reference.GetOrigin(), atol=1e-3)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_2d_oblique_and_left_handed(suffix: str, succeed: Call, flat: Path, tmp_path: Path) -> None:
    """Both grids are oblique: that of the phantom's moving image, and a fixed grid rotated in the other direction."""
    affine = torch.eye(3, dtype=torch.float64)
    c, s = np.cos(-0.4), np.sin(-0.4)
    affine[:2, :2] = torch.tensor([[c, s], [s, -c]]) @ torch.diag(torch.tensor([1.9, 1.6]).double())
    affine[:2, 2] = -affine[:2, :2] @ torch.tensor([47.5, 49.5]).double()
    pair = nephi.phantoms.shapes_phantom(seed=2, motion=6.0, shape=(96, 96), fixed_grid=nephi.Grid((96, 100), affine))
    for name in ("fixed", "moving"):
        nephi.write_image(getattr(pair, name), tmp_path / f"{name}{suffix}")
    nephi.write_point_pairs(tmp_path / "l.csv", pair.landmarks)
    files = ["-f", tmp_path / f"fixed{suffix}", "-m", tmp_path / f"moving{suffix}"]
    succeed("register", *files, "-o", tmp_path / "out", "--config", flat / "quick.toml")
    field = itk_field(tmp_path / "out" / "warp.nii.gz")
    rows = np.genfromtxt(tmp_path / "l.csv", delimiter=",", names=True)
    errors = [
        np.linalg.norm(np.subtract(field.TransformPoint((r["fixed_x"], r["fixed_y"])), (r["moving_x"], r["moving_y"])))
        for r in rows
    ]
    assert np.mean(errors) < 1.0
    expected = itk_resample(files[3], files[1], field, sitk.sitkLinear, 0.0)
    actual = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "warped.nii.gz")))
    assert np.quantile(np.abs(actual - expected), 0.999) <= 2


def write_dicom(folder: Path, source: Path) -> None:
    """A CT series with one file per slice and an intercept of -1024."""
    folder.mkdir()
    volume = sitk.ReadImage(str(source))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = np.reshape(volume.GetDirection(), (3, 3))
    for k in range(volume.GetDepth()):
        plane = volume[:, :, k]
        position = volume.TransformIndexToPhysicalPoint((0, 0, k))
        for tag, value in {
            "0008|0060": "CT",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.1.{k + 1}",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.8",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.9",
            "0020|0013": str(k + 1),
            "0020|0032": "\\".join(f"{x:.6f}" for x in position),
            "0020|0037": "\\".join(f"{x:.8f}" for x in direction[:, :2].T.ravel()),
            "0028|1052": "-1024",
            "0028|1053": "1",
        }.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"slice{k:03d}.dcm"))
        writer.Execute(plane)


def test_dicom_folder_as_an_image(succeed: Call, solid: Path, flat: Path, tmp_path: Path) -> None:
    """The result equals that of the same volume as NIfTI."""
    folder, nifti = tmp_path / "series", solid / "fixed.nii.gz"
    write_dicom(folder, nifti)
    assert "52 x 40 x 44" in succeed("info", folder).out
    points = tmp_path / "points.csv"
    ends = []
    for number, fixed in enumerate((folder, nifti)):
        out = tmp_path / str(number)
        files = ["-f", fixed, "-m", solid / "moving.nii.gz", "--fixed-mask", solid / "fixed_mask.nii.gz"]
        succeed("register", *files, "-o", out, "--config", flat / "brief.toml", "--preset", "ct")
        succeed("points", "-t", out / "transform.nephi", "-i", solid / "fixed_points.csv", "-o", points)
        ends.append(nephi.read_points(points).coordinates)
    # DICOM stores numbers as decimal text; slice positions of GDCM differ in the last digits.
    assert float((ends[0] - ends[1]).norm(dim=-1).max()) < 0.05
    files = ["-i", solid / "moving.nii.gz", "-r", folder, "-o", tmp_path / "w.nii.gz"]
    succeed("apply", "-t", tmp_path / "1" / "warp.nii.gz", *files, "--outside", -1024)
    warped = nephi.read_image(tmp_path / "w.nii.gz")
    other = nephi.read_image(tmp_path / "1" / "warped.nii.gz")
    same = (warped.data - other.data).abs() <= 2
    assert float(same.float().mean()) > 0.99
