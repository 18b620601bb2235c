"""`nephi apply` compared with SimpleITK: transforms and inverses, volumes, labels and series."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import nephi

from .conftest import Call, itk_field, itk_resample, voxels, write_like

ITK = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor, "bspline": sitk.sitkBSpline}


@pytest.fixture(scope="module")
def smooth(solid: Path) -> Path:
    """The moving image as float32: no rounding hides a difference."""
    path = solid / "moving_float.nii.gz"
    data = voxels(solid / "moving.nii.gz").astype(np.float32)
    return write_like(path, data, solid / "moving.nii.gz")


@pytest.mark.parametrize("interpolation", ["linear", "nearest", "bspline"])
def test_exported_warp_matches_simpleitk(
    interpolation: str, succeed: Call, solid: Path, smooth: Path, tmp_path: Path
) -> None:
    warp, fixed, out = solid / "result" / "warp.nii.gz", solid / "fixed.nii.gz", tmp_path / "out.nii.gz"
    options = ["--interpolation", interpolation, "--outside", -1024]
    printed = succeed("apply", "-t", warp, "-i", smooth, "-r", fixed, "-o", out, *options).out
    assert printed == ""
    expected = itk_resample(smooth, fixed, itk_field(warp), ITK[interpolation], -1024.0)
    actual = voxels(out).T
    assert actual.dtype == np.float32
    inside_both = (actual != -1024) & (expected != -1024)
    assert inside_both.mean() > 0.5
    difference = np.abs(actual - expected)
    if interpolation == "nearest":
        assert (difference > 0).mean() < 1e-3  # points halfway between two voxels are rounded differently
    elif interpolation == "linear":
        assert np.quantile(difference[inside_both], 0.999) < 0.05  # contrast is about 1000
    else:
        # Between the outermost voxels and the border nephi repeats the voxels and ITK mirrors them.
        grid = nephi.read_image(smooth).grid
        moved = nephi.read_transform(warp)(nephi.read_image(fixed).grid.voxel_centres())
        moved_voxel = grid.world_to_voxel_points(moved)
        depth = torch.minimum(moved_voxel, torch.tensor(grid.shape) - 1 - moved_voxel).amin(dim=-1).numpy().T
        assert (depth > 0).mean() > 0.5
        assert difference[depth > 0].max() < 0.5
    assert ((actual == -1024) != (expected == -1024)).mean() < 1e-3


@pytest.mark.parametrize("suffix", [".tfm", ".txt", ".mat", ".h5"])
def test_affine_matches_simpleitk(
    suffix: str, succeed: Call, solid: Path, smooth: Path, solid_affine: Path, tmp_path: Path
) -> None:
    transform = sitk.ReadTransform(str(solid_affine))
    path, out = tmp_path / f"a{suffix}", tmp_path / "out.mha"
    sitk.WriteTransform(transform, str(path))
    succeed("apply", "-t", path, "-i", smooth, "-r", solid / "fixed.nii.gz", "-o", out)
    expected = itk_resample(smooth, solid / "fixed.nii.gz", transform, sitk.sitkLinear, 0.0)
    actual = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))
    assert np.quantile(np.abs(actual - expected), 0.999) < 0.05


def test_nephi_file_reproduces_the_warped_image(succeed: Call, solid: Path, tmp_path: Path) -> None:
    """Byte for byte: the outside value is that of the preset, which the file stores."""
    out = tmp_path / "out.nii.gz"
    files = ["-t", solid / "result" / "transform.nephi", "-i", solid / "moving.nii.gz", "-r", solid / "fixed.nii.gz"]
    succeed("apply", *files, "-o", out)
    assert out.read_bytes() == (solid / "result" / "warped.nii.gz").read_bytes()


def test_first_transform_is_applied_first(
    succeed: Call, solid: Path, smooth: Path, solid_affine: Path, tmp_path: Path
) -> None:
    """ANTs' order: `-t A -t B` maps points of the reference by A, then B, as the composite [B, A] of ITK."""
    warp, fixed, out = solid / "result" / "warp.nii.gz", solid / "fixed.nii.gz", tmp_path / "out.nii.gz"
    chain = sitk.CompositeTransform([sitk.ReadTransform(str(solid_affine)), itk_field(warp)])
    expected = itk_resample(smooth, fixed, chain, sitk.sitkLinear, 0.0)
    succeed("apply", "-t", warp, "-t", solid_affine, "-i", smooth, "-r", fixed, "-o", out)
    assert np.quantile(np.abs(voxels(out).T - expected), 0.99) < 0.05
    succeed("apply", "-t", solid_affine, "-t", warp, "-i", smooth, "-r", fixed, "-o", out)
    assert np.quantile(np.abs(voxels(out).T - expected), 0.9) > 5


def test_identity_resamples_onto_the_grid(succeed: Call, solid: Path, smooth: Path, tmp_path: Path) -> None:
    """Compared with the identity transform of SimpleITK."""
    fixed, out = solid / "fixed.nii.gz", tmp_path / "out.nii.gz"
    succeed("apply", "-t", "identity", "-i", smooth, "-r", fixed, "-o", out)
    expected = itk_resample(smooth, fixed, sitk.Transform(), sitk.sitkLinear, 0.0)
    assert expected.std() > 100
    assert np.quantile(np.abs(voxels(out).T - expected), 0.999) < 0.05


def test_mask_is_resampled_as_the_error_advises(call: Call, solid: Path, tmp_path: Path) -> None:
    mask, resampled = tmp_path / "my mask.nii.gz", tmp_path / "resampled.nii.gz"
    grid = nephi.read_image(solid / "fixed.nii.gz").grid
    finer = nephi.Grid.from_spacing((90, 70, 80), tuple(0.6 * s for s in grid.spacing.tolist()), grid.origin.tolist())
    inside = (finer.voxel_centres() - finer.centre_world()).norm(dim=-1) < 80
    nephi.write_image(nephi.Image(inside.to(torch.uint8), finer), mask)
    arguments = ["register", "-f", solid / "fixed.nii.gz", "-m", solid / "moving.nii.gz", "--dry-run", "-o", "out"]
    refused = call(*arguments, "--fixed-mask", mask)
    assert refused.code == 3
    command_line = shlex.split(refused.err.split("`")[1].replace("-o MASK", f"-o {resampled}"))
    assert command_line[0] == "nephi" and call(*command_line[1:]).code == 0
    assert call(*arguments, "--fixed-mask", resampled).code == 0
    around = (grid.voxel_centres() - finer.centre_world()).norm(dim=-1)
    written = nephi.read_image(resampled).data
    assert bool((written[around < 70] == 1).all()) and bool((written[around > 90] == 0).all())


def test_inverse_warps_the_fixed_image(succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    """The inverse of a .nephi file, the numerical inverse of a warp and the exported inverse warp agree."""
    outs = []
    for number, transform in enumerate(
        (
            ["-t", flat_result / "transform.nephi", "--inverse"],
            ["-t", flat_result / "warp.nii.gz", "--inverse"],
            ["-t", flat_result / "inverse_warp.nii.gz"],
        )
    ):
        outs.append(tmp_path / f"{number}.nii.gz")
        files = ["-i", flat / "fixed.nii.gz", "-r", flat / "moving.nii.gz", "-o", outs[-1]]
        succeed("apply", *transform, *files)
    inside = voxels(flat / "moving_mask.nii.gz") > 0
    moving = voxels(flat / "moving.nii.gz").astype(float)
    for out in outs:
        back = voxels(out).astype(float)
        assert np.corrcoef(back[inside], moving[inside])[0, 1] > 0.95
        assert np.quantile(np.abs(back - voxels(outs[0]))[inside], 0.95) < 40


def test_round_trip_is_the_identity(succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    """Inverse warp and warp composed reproduce the image."""
    out = tmp_path / "out.nii.gz"
    files = ["-i", flat / "fixed.nii.gz", "-r", flat / "fixed.nii.gz", "-o", out]
    succeed("apply", "-t", flat_result / "inverse_warp.nii.gz", "-t", flat_result / "warp.nii.gz", *files)
    inside = voxels(flat / "fixed_mask.nii.gz") > 0
    back, fixed = voxels(out).astype(float), voxels(flat / "fixed.nii.gz").astype(float)
    assert np.corrcoef(back[inside], fixed[inside])[0, 1] > 0.99


def test_inverse_of_several_transforms(succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    """The inverse of "A, then B" is "inverse of B, then inverse of A"."""
    shift = nephi.AffineTransform.translation(nephi.read_image(flat / "fixed.nii.gz").grid.origin * 0 + 9.0)
    nephi.io.write_affine(tmp_path / "a.tfm", shift)
    files = ["-i", flat / "fixed.nii.gz", "-r", flat / "moving.nii.gz"]
    chain = ["-t", tmp_path / "a.tfm", "-t", flat_result / "transform.nephi"]
    succeed("apply", *chain, "--inverse", *files, "-o", tmp_path / "chain.nii.gz")
    nephi.io.write_affine(tmp_path / "back.tfm", shift.inverse())
    steps = ["-t", flat_result / "inverse_warp.nii.gz", "-t", tmp_path / "back.tfm"]
    succeed("apply", *steps, *files, "-o", tmp_path / "steps.nii.gz")
    one, other = (voxels(tmp_path / f"{n}.nii.gz").astype(float) for n in ("chain", "steps"))
    assert np.abs(one - other).mean() < 3


@pytest.mark.parametrize("interpolation", ["label", "nearest"])
def test_labels_are_preserved(interpolation: str, succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.nii.gz"
    files = ["-i", flat / "moving_labels.nii.gz", "-r", flat / "fixed.nii.gz", "-o", out]
    succeed("apply", "-t", flat_result / "transform.nephi", *files, "--interpolation", interpolation)
    warped, truth = voxels(out), voxels(flat / "fixed_labels.nii.gz")
    assert warped.dtype == np.uint8
    assert set(np.unique(warped)) == {0, 3, 7, 12, 200}
    assert (warped == truth).mean() > 0.97


def test_labels_beyond_float32_are_preserved(succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    """Atlases number their structures up to 10^9."""
    labels = voxels(flat / "moving_labels.nii.gz").astype(np.int32)
    labels[labels == 200] = 2**30 + 1
    labels[labels == 12] = 2**30
    path, out = write_like(tmp_path / "l.nii.gz", labels, flat / "moving.nii.gz"), tmp_path / "out.nii.gz"
    files = ["-i", path, "-r", flat / "fixed.nii.gz", "-o", out]
    succeed("apply", "-t", flat_result / "transform.nephi", *files, "--interpolation", "label")
    assert set(np.unique(voxels(out))) == {0, 3, 7, 2**30, 2**30 + 1}


class TestOutside:
    """Values outside the image: 0 for labels, the value stored in the transform for intensities, or `--outside`."""

    @pytest.fixture
    def far(self, solid: Path, tmp_path: Path) -> Path:
        """A reference 600 mm away from everything."""
        grid = nephi.read_image(solid / "fixed.nii.gz").grid
        path = tmp_path / "far.nii.gz"
        origin = [600.0 + o for o in grid.origin.tolist()]
        nephi.write_image(
            nephi.Image(torch.zeros(3, 4, 2), nephi.Grid.from_spacing((3, 4, 2), (2, 2, 2), origin)), path
        )
        return path

    @pytest.fixture
    def stored(self, call: Call, solid: Path, far: Path, tmp_path: Path) -> Callable[..., set[float]]:
        """Return a function that runs `nephi apply` on the far reference, checks the warning and returns the values."""

        def values(*options: object, image: Path = solid / "moving.nii.gz") -> set[float]:
            out = tmp_path / "out.nii.gz"
            outcome = call("apply", *options, "-i", image, "-r", far, "-o", out)
            assert outcome.code == 0 and outcome.err.count("no voxel of the reference falls inside the image") == 1
            by_field = solid / "result" / "warp.nii.gz" in options
            assert ("lies wholly outside the displacement field" in outcome.err) == by_field
            return set(np.unique(voxels(out)).tolist())

        return values

    def test_ct(self, stored: Callable[..., set[float]], solid: Path, tmp_path: Path) -> None:
        lungs, warp = solid / "result" / "transform.nephi", solid / "result" / "warp.nii.gz"
        assert stored("-t", lungs) == {-1024}
        assert stored("-t", lungs, "--interpolation", "bspline") == {-1024}
        assert stored("-t", lungs, "--inverse") == {-1024}
        assert stored("-t", lungs, "--outside", 0) == {0}
        assert stored("-t", lungs, "--outside", -3000) == {-3000}
        assert stored("-t", warp) == stored("-t", "identity") == {0}

    def test_labels(self, stored: Callable[..., set[float]], solid: Path) -> None:
        lungs = solid / "result" / "transform.nephi"
        for interpolation in ("label", "nearest"):
            for image in (solid / "moving_mask.nii.gz", solid / "moving.nii.gz"):  # the latter has a signed type
                assert stored("-t", lungs, "--interpolation", interpolation, image=image) == {0}
        assert stored("-t", lungs, "--interpolation", "label", "--outside", 7) == {7}

    def test_chains(self, stored: Callable[..., set[float]], solid: Path, solid_affine: Path) -> None:
        """The value of the last applied `.nephi` is used, whatever other transforms are composed with it."""
        lungs = solid / "result" / "transform.nephi"
        assert stored("-t", solid_affine, "-t", lungs) == stored("-t", lungs, "-t", "identity") == {-1024}
        assert stored("-t", lungs, "-t", solid_affine) == stored("-t", f"[{lungs},1]") == {-1024}
        assert stored("-t", lungs, "-t", solid_affine, "--inverse") == {-1024}
        assert stored("-t", solid_affine, "-t", lungs, "--inverse") == {-1024}
        assert stored("-t", solid_affine) == {0}

    def test_series(self, stored: Callable[..., set[float]], solid: Path, tmp_path: Path) -> None:
        volume = voxels(solid / "moving.nii.gz")
        series = write_like(tmp_path / "series.nii", np.stack([volume] * 2, axis=-1), solid / "moving.nii.gz")
        assert stored("-t", solid / "result" / "transform.nephi", image=series) == {-1024}

    def test_value_in_other_units(self, call: Call, solid: Path, far: Path, tmp_path: Path) -> None:
        """A PET of the same session, warped by the CT's transform."""
        pet = write_like(
            tmp_path / "pet.nii", voxels(solid / "moving.nii.gz").clip(0) / np.float32(100), solid / "moving.nii.gz"
        )
        arguments = ["apply", "-t", solid / "result" / "transform.nephi", "-i", pet, "-r", far]
        outcome = call(*arguments, "-o", tmp_path / "out.nii")
        assert outcome.code == 0 and set(np.unique(voxels(tmp_path / "out.nii"))) == {-1024}
        assert "far from -1024, the value outside that the transform stores" in outcome.err
        assert "stores" not in call(*arguments, "-o", tmp_path / "out.nii", "--outside", 0).err

    def test_value_that_the_image_cannot_hold(self, call: Call, solid: Path, far: Path, tmp_path: Path) -> None:
        mask, out = solid / "moving_mask.nii.gz", tmp_path / "out.nii.gz"
        outcome = call("apply", "-t", solid / "result" / "transform.nephi", "-i", mask, "-r", far, "-o", out)
        assert outcome.code == 0 and set(np.unique(voxels(out))) == {0}
        assert f"{mask}: outside: expected a value of the image's type uint8, got -1024; used 0" in outcome.err
        assert (
            f"{mask}: its voxels lie between 0 and 1" in outcome.err and "choose the interpolation label" in outcome.err
        )


class TestSeries:
    @pytest.fixture
    def series(self, solid: Path, tmp_path: Path) -> Path:
        volume = voxels(solid / "moving.nii.gz")
        image = nibabel.Nifti1Image(
            np.stack([volume, volume // 2, volume + 7], axis=-1), nibabel.load(solid / "moving.nii.gz").affine
        )
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = 2.5
        path = tmp_path / "series.nii.gz"
        nibabel.save(image, path)
        return path

    def test_every_volume_is_warped(self, succeed: Call, solid: Path, series: Path, tmp_path: Path) -> None:
        out, single = tmp_path / "out.nii.gz", tmp_path / "single.nii.gz"
        common = ["-t", solid / "result" / "transform.nephi", "-r", solid / "fixed.nii.gz"]
        succeed("apply", *common, "-i", series, "-o", out)
        succeed("apply", *common, "-i", solid / "moving.nii.gz", "-o", single)
        result, one = nibabel.load(out), voxels(single)
        assert result.shape == (*one.shape, 3) and result.get_data_dtype() == np.int16
        assert result.header["pixdim"][4] == 2.5 and result.header.get_xyzt_units() == ("mm", "sec")
        np.testing.assert_array_equal(voxels(out)[..., 0], one)
        reached = one != -1024
        raised = voxels(out)[..., 2][reached].astype(int) - one[reached]
        assert np.abs(raised - 7).max() <= 1  # halves are rounded to even numbers
        np.testing.assert_allclose(result.affine, nibabel.load(solid / "fixed.nii.gz").affine, atol=1e-4)

    def test_labels_of_a_series(self, succeed: Call, solid: Path, tmp_path: Path) -> None:
        mask = voxels(solid / "moving_mask.nii.gz")
        path = write_like(tmp_path / "s.nii", np.stack([mask, 5 * mask], axis=-1), solid / "moving.nii.gz")
        files = ["-i", path, "-r", solid / "fixed.nii.gz", "-o", tmp_path / "out.nii"]
        succeed("apply", "-t", solid / "result" / "transform.nephi", *files, "--interpolation", "label")
        result = voxels(tmp_path / "out.nii")
        assert set(np.unique(result[..., 0])) == {0, 1} and set(np.unique(result[..., 1])) == {0, 5}

    def test_a_series_needs_nifti(self, call: Call, solid: Path, series: Path, tmp_path: Path) -> None:
        files = ["-i", series, "-r", solid / "fixed.nii.gz", "-o", tmp_path / "out.mha"]
        outcome = call("apply", "-t", solid / "result" / "transform.nephi", *files)
        assert outcome.code == 2 and "expected a series to be written as .nii or .nii.gz" in outcome.err
        assert not (tmp_path / "out.mha").exists()

    def test_truncated_series_writes_nothing(self, call: Call, solid: Path, series: Path, tmp_path: Path) -> None:
        series.write_bytes(series.read_bytes()[:-3000])
        files = ["-i", series, "-r", solid / "fixed.nii.gz", "-o", tmp_path / "out.nii.gz"]
        outcome = call("apply", "-t", solid / "result" / "transform.nephi", *files)
        assert outcome.code == 3 and "series.nii.gz" in outcome.err
        assert sorted(p.name for p in tmp_path.iterdir()) == ["series.nii.gz"]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"])
def test_all_output_formats_agree(suffix: str, succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out{suffix}"
    files = ["-t", flat_result / "transform.nephi", "-i", flat / "moving.nii.gz", "-r", flat / "fixed.nii.gz"]
    succeed("apply", *files, "-o", out)
    written = sitk.ReadImage(str(out))
    warped = sitk.ReadImage(str(flat_result / "warped.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), sitk.GetArrayFromImage(warped))
    np.testing.assert_allclose(written.GetOrigin(), warped.GetOrigin(), atol=1e-4)


def test_the_input_may_be_overwritten(succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    """Also if it is memory-mapped."""
    path = write_like(tmp_path / "m.nii", voxels(flat / "moving.nii.gz"), flat / "moving.nii.gz")
    succeed("apply", "-t", flat_result / "transform.nephi", "-i", path, "-r", flat / "fixed.nii.gz", "-o", path)
    np.testing.assert_array_equal(voxels(path), voxels(flat_result / "warped.nii.gz"))


def test_verbose_prints_a_summary(succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.nii.gz"
    files = ["-t", flat_result / "transform.nephi", "-i", flat / "moving.nii.gz", "-r", flat / "fixed.nii.gz"]
    assert str(out) in succeed("apply", *files, "-o", out, "-v").out
    assert succeed("apply", *files, "-o", out, "-v", "-q").out == ""


def test_wrong_usage(call: Call, flat: Path, solid: Path, flat_result: Path, tmp_path: Path) -> None:
    moving, fixed, out = flat / "moving.nii.gz", flat / "fixed.nii.gz", tmp_path / "out.nii.gz"
    transform = flat_result / "transform.nephi"
    cases = [
        (["-i", moving, "-r", fixed, "-o", out], 2, "--transform"),
        (["-t", transform, "-i", moving, "-r", fixed, "-o", tmp_path / "out.dcm"], 2, "out.dcm"),
        (["-t", transform, "-i", moving, "-r", fixed, "-o", tmp_path / "no" / "out.nii"], 3, "out.nii"),
        (["-t", transform, "-i", moving, "-r", fixed, "-o", tmp_path], 2, str(tmp_path)),
        (["-t", transform, "-i", moving, "-r", tmp_path / "no.nii", "-o", out], 3, "no.nii"),
        (["-t", transform, "-i", solid / "moving.nii.gz", "-r", fixed, "-o", out], 3, str(solid / "moving.nii.gz")),
        (["-t", transform, "-i", moving, "-r", solid / "fixed.nii.gz", "-o", out], 3, str(solid / "fixed.nii.gz")),
        (["-t", moving, "-i", moving, "-r", fixed, "-o", out], 3, str(moving)),
        (["-t", transform, "-i", moving, "-r", fixed, "-o", out, "--outside", "nan"], 2, "outside"),
    ]
    for arguments, code, named in cases:
        outcome = call("apply", *arguments)
        assert (outcome.code, outcome.out) == (code, ""), arguments
        assert named in outcome.err and "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_transforms_of_different_dimensions_are_rejected(
    call: Call, flat: Path, flat_result: Path, solid_affine: Path, tmp_path: Path
) -> None:
    chain = ["-t", flat_result / "transform.nephi", "-t", solid_affine]
    outcome = call("apply", *chain, "-i", flat / "moving.nii.gz", "-r", flat / "fixed.nii.gz", "-o", tmp_path / "o.nii")
    assert outcome.code == 3
    assert str(solid_affine) in outcome.err and "3-D" in outcome.err


def test_header_of_another_file(call: Call, succeed: Call, solid: Path, tmp_path: Path) -> None:
    """The command that `register` advises for a mask without a header restores the mask."""
    right = solid / "fixed_mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels(right).astype("u1"), np.eye(4)), tmp_path / "lost.nii.gz")
    images = ["-f", solid / "fixed.nii.gz", "-m", solid / "moving.nii.gz", "-o", tmp_path / "out"]
    masks = ["--fixed-mask", tmp_path / "lost.nii.gz", "--moving-mask", solid / "moving_mask.nii.gz"]
    refused = call("register", *images, *masks, "--preset", "lung-ct")
    assert refused.code == 3
    command = re.findall("`nephi (.*?)`", refused.err)[0].replace("MASK", str(tmp_path / "mask.nii.gz"))
    succeed(*shlex.split(command))
    np.testing.assert_array_equal(voxels(tmp_path / "mask.nii.gz"), voxels(right))
    np.testing.assert_allclose(nibabel.load(tmp_path / "mask.nii.gz").affine, nibabel.load(right).affine, atol=1e-5)
    small = tmp_path / "small.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), "u1"), np.eye(4)), small)
    other = call(
        "apply", "-t", "identity", "-i", small, "-r", right, "--header-from", right, "-o", tmp_path / "x.nii.gz"
    )
    assert other.code == 3 and f"{small}: expected " in other.err
