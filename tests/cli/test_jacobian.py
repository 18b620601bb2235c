"""`nephi jacobian`."""

import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

import nephi

from .conftest import Call, voxels


def test_determinant_of_an_affine_is_constant(succeed: Call, solid: Path, solid_affine: Path, tmp_path: Path) -> None:
    out, fixed = tmp_path / "j.nii.gz", solid / "fixed.nii.gz"
    determinant = np.linalg.det(np.reshape(sitk.ReadTransform(str(solid_affine)).GetParameters()[:9], (3, 3)))
    assert succeed("jacobian", "-t", solid_affine, "-r", fixed, "-o", out).out == ""
    image = nibabel.load(out)
    assert image.get_data_dtype() == np.float32
    assert image.shape == nibabel.load(fixed).shape
    np.testing.assert_allclose(image.affine, nibabel.load(fixed).affine, atol=1e-4)
    np.testing.assert_allclose(voxels(out), determinant, rtol=1e-5)
    succeed("jacobian", "-t", solid_affine, "--inverse", "-r", fixed, "-o", out)
    np.testing.assert_allclose(voxels(out), 1 / determinant, rtol=1e-5)
    succeed("jacobian", "-t", solid_affine, "-r", fixed, "-o", out, "--log")
    np.testing.assert_allclose(voxels(out), np.log(determinant), rtol=1e-4)
    succeed("jacobian", "-t", solid_affine, "-t", solid_affine, "-r", fixed, "-o", out)
    np.testing.assert_allclose(voxels(out), determinant**2, rtol=1e-5)
    succeed("jacobian", "-t", "identity", "-r", fixed, "-o", out)
    np.testing.assert_array_equal(voxels(out), 1)


def test_rotated_grid_changes_nothing(succeed: Call, solid: Path, solid_affine: Path, tmp_path: Path) -> None:
    """Determinants are of world coordinates: the moving grid has oblique, permuted axes."""
    out = tmp_path / "j.nii.gz"
    determinant = np.linalg.det(np.reshape(sitk.ReadTransform(str(solid_affine)).GetParameters()[:9], (3, 3)))
    succeed("jacobian", "-t", solid_affine, "-r", solid / "moving.nii.gz", "-o", out)
    np.testing.assert_allclose(voxels(out), determinant, rtol=1e-5)


def test_volume_change_of_a_registration(succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    """The mean determinant over the fixed disc is the quotient of the moving and the fixed area of the disc."""
    out = tmp_path / "j.nii.gz"
    succeed("jacobian", "-t", flat_result / "transform.nephi", "-r", flat / "fixed.nii.gz", "-o", out)
    grids = [nephi.read_image(flat / f"{n}_mask.nii.gz") for n in ("fixed", "moving")]
    areas = [float((i.data > 0).sum()) * float(i.grid.spacing.prod()) for i in grids]
    determinants = voxels(out)[voxels(flat / "fixed_mask.nii.gz") > 0]
    assert determinants.min() > 0
    np.testing.assert_allclose(determinants.mean(), areas[1] / areas[0], rtol=0.02)


def test_determinant_matches_simpleitk(succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    """The filter of ITK on the exported warp (axis-aligned fixed grid), away from the border."""
    out = tmp_path / "j.nii.gz"
    succeed("jacobian", "-t", flat_result / "transform.nephi", "-r", flat / "fixed.nii.gz", "-o", out)
    field = sitk.ReadImage(str(flat_result / "warp.nii.gz"), sitk.sitkVectorFloat64)
    signs = np.sign(np.diag(np.reshape(field.GetDirection(), (2, 2))))  # RAS against LPS
    reoriented = sitk.GetImageFromArray(sitk.GetArrayFromImage(field) * signs, isVector=True)
    reoriented.SetSpacing(field.GetSpacing())
    expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(reoriented)).T
    difference = np.abs(voxels(out) - expected)[2:-2, 2:-2]
    assert difference.mean() < 0.01


def test_logarithm_of_folds(succeed: Call, tmp_path: Path) -> None:
    """A reflection: determinants of -1 are written as log(1e-9)."""
    grid = nephi.Grid.from_spacing((4, 5, 6), [1.0, 1.0, 1.0])
    image = nephi.Image(grid.voxel_centres()[..., 0], grid)
    nephi.write_image(image, tmp_path / "r.nii")
    affine = sitk.AffineTransform(3)
    affine.SetMatrix([-1, 0, 0, 0, 1, 0, 0, 0, 1])
    sitk.WriteTransform(affine, str(tmp_path / "mirror.tfm"))
    options = ["-t", tmp_path / "mirror.tfm", "-r", tmp_path / "r.nii", "-o", tmp_path / "j.nii"]
    succeed("jacobian", *options)
    np.testing.assert_allclose(voxels(tmp_path / "j.nii"), -1.0)
    succeed("jacobian", *options, "--log")
    np.testing.assert_allclose(voxels(tmp_path / "j.nii"), np.log(1e-9), rtol=1e-6)


def test_statistics_of_labels(succeed: Call, solid: Path, solid_affine: Path, tmp_path: Path) -> None:
    """An affine map changes each volume by its determinant; the mask of the lungs has one label."""
    determinant = np.linalg.det(np.reshape(sitk.ReadTransform(str(solid_affine)).GetParameters()[:9], (3, 3)))
    labels, table = solid / "fixed_mask.nii.gz", tmp_path / "volumes.json"
    (tmp_path / "names.txt").write_text('1 255 0 0 1 1 1 "both lungs"\n', encoding="utf-8")
    options = ["-t", solid_affine, "--labels", labels, "--label-names", tmp_path / "names.txt", "--json", table]
    printed = succeed("jacobian", *options).out
    (statistics,) = json.loads(table.read_text(encoding="utf-8")).values()
    image = nephi.read_image(labels)
    volume = int((image.data > 0).sum()) * float(image.grid.spacing.prod())
    assert statistics["name"] == "both lungs" and statistics["folds"] == 0
    assert statistics["volume_before_mm3"] == pytest.approx(volume)
    assert statistics["volume_after_mm3"] == pytest.approx(volume * determinant, rel=1e-5)
    assert [statistics[key] for key in ("mean", "p05", "median", "p95")] == pytest.approx([determinant] * 4, rel=1e-5)
    line = re.split(r" {2,}", printed.splitlines()[-1].strip())
    assert line[:4] == ["1", "both lungs", f"{volume / 1e3:.4g}", f"{volume * determinant / 1e3:.4g}"]
    assert line[4] == f"{100 * (determinant - 1):+.1f} %" and line[-1] == "0"
    # With an image of determinants on another grid, the statistics are the same.
    out = tmp_path / "j.nii.gz"
    assert succeed("jacobian", *options, "-r", solid / "moving.nii.gz", "-o", out, "-q").out == ""
    assert json.loads(table.read_text(encoding="utf-8"))["1"] == statistics and out.exists()


def test_wrong_usage(call: Call, flat: Path, solid_affine: Path, solid: Path, tmp_path: Path) -> None:
    labels = solid / "fixed_mask.nii.gz"
    for options, named in (
        ([], "-o, --labels"),
        (["-o", tmp_path / "j.nii"], "-r: expected an image"),
        (["-o", tmp_path / "j.nii", "-r", labels, "--json", tmp_path / "t.json"], "require --labels"),
        (["--labels", labels, "-r", labels], "-r: requires -o"),
    ):
        outcome = call("jacobian", "-t", solid_affine, *options)
        assert (outcome.code, outcome.out) == (2, "") and named in outcome.err
    outcome = call("jacobian", "-t", solid_affine, "--labels", flat / "fixed_mask.nii.gz")
    assert outcome.code == 3 and "expected 3-D voxels" in outcome.err
    outcome = call("jacobian", "-t", solid_affine, "--labels", solid / "fixed.nii.gz")
    assert outcome.code == 3 and "expected whole numbers" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_another_dimension_is_rejected(call: Call, flat: Path, solid_affine: Path, tmp_path: Path) -> None:
    fixed = flat / "fixed.nii.gz"
    outcome = call("jacobian", "-t", solid_affine, "-r", fixed, "-o", tmp_path / "j.nii")
    assert outcome.code == 3
    assert outcome.err == f"nephi: error: {fixed}: expected 3-D voxels, the dimension of the transform, got 2-D\n"
    assert list(tmp_path.iterdir()) == []
