"""`nephi export`, and its files as input of the other commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import nephi

from .conftest import Call, Outcome


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A folder with two images on one grid, one on another, a field between them, and points."""
    grid = nephi.Grid.from_spacing((12, 11, 10), (2.0, 2.5, 3.0), (-10.0, -12.0, -14.0))
    points = grid.voxel_centres()
    image = nephi.Image(points[..., 0] + 2 * points[..., 1] + 3 * points[..., 2], grid)
    nephi.write_image(image, tmp_path / "fixed.nii.gz")
    other = nephi.Grid.from_spacing((12, 11, 10), (2.0, 2.5, 3.0), (-9.0, -12.0, -14.0))
    nephi.write_image(nephi.Image(image.data, other), tmp_path / "other.nii.gz")
    field = nephi.DisplacementField(2 * torch.sin(points * 0.1), grid)
    nephi.export_transform(field, grid, tmp_path / "u.nii.gz", "itk")
    nephi.io.write_affine(tmp_path / "a.tfm", nephi.AffineTransform.translation(torch.tensor([1.0, -2.0, 0.5])))
    nephi.write_points(tmp_path / "points.csv", nephi.Points(points[3:9:2, 3:9:2, 3:9:2].reshape(-1, 3)))
    return tmp_path


FORMATS = [
    ("itk", "w.nii.gz"),
    ("itk", "w.mha"),
    ("slicer", "w.nii.gz"),
    ("nrrd", "w.nrrd"),
    ("h5", "w.h5"),
    ("learn2reg", "w.nii.gz"),
    ("fsl", "w.nii.gz"),
]


@pytest.mark.parametrize(("format", "name"), FORMATS)
def test_round_trip_of_every_format(scene: Path, succeed: Call, format: str, name: str) -> None:
    out = scene / f"exported_{name}"
    assert succeed("export", "-t", scene / "u.nii.gz", "-r", scene / "fixed.nii.gz", "--format", format, "-o", out) == (
        Outcome(0, "", "")
    )
    named = ("--transform-format", format) if format in ("learn2reg", "fsl") else ()
    fixed, points = scene / "fixed.nii.gz", scene / "points.csv"
    for transform, extra, mark in ((scene / "u.nii.gz", (), "a"), (out, named, "b")):
        succeed("apply", "-t", transform, *extra, "-i", fixed, "-r", fixed, "-o", scene / f"{mark}.nii.gz")
        succeed("points", "-t", transform, *extra, "-i", points, "-o", scene / f"{mark}.csv")
        succeed("evaluate", "-t", transform, *extra, "--mask", fixed, "-q", "--json", scene / f"{mark}.json")
    first, second = (nephi.read_points(scene / f"{mark}.csv").coordinates for mark in "ab")
    torch.testing.assert_close(first, second, rtol=0, atol=1e-3)
    images = [np.asarray(nephi.read_image(scene / f"{mark}.nii.gz").data) for mark in "ab"]
    np.testing.assert_allclose(*images, atol=1e-2)


def test_a_tolerance(scene: Path, succeed: Call, call: Call) -> None:
    export = ("export", "-t", scene / "u.nii.gz", "-r", scene / "fixed.nii.gz", "--tolerance", 0.05)
    printed = succeed(*export, "--format", "itk", "-o", scene / "w.nii.gz").out
    assert printed.startswith(f"{scene / 'w.nii.gz'}: itk transform on 12 x 11 x 10 nodes, deviation at most ")
    assert printed.endswith(" mm at 200,000 points\n")
    assert succeed(*export, "--format", "h5", "-o", scene / "w.h5", "-q").out == ""
    failed = call(*export, "--format", "fsl", "-o", scene / "f.nii.gz")
    assert failed.code == 2 and "--tolerance: not available for fsl" in failed.err
    assert not (scene / "f.nii.gz").exists()


def test_chains_and_inverses(scene: Path, succeed: Call) -> None:
    chain = ("-t", scene / "a.tfm", "-t", scene / "u.nii.gz")
    reference = ("-r", scene / "fixed.nii.gz")
    printed = succeed("export", *chain, "--inverse", *reference, "--format", "nrrd", "-o", scene / "w.nrrd", "-v").out
    assert printed == f"{scene / 'w.nrrd'}: nrrd transform on the grid of {scene / 'fixed.nii.gz'}\n"
    for transforms, name in ((chain, "a.csv"), (("-t", scene / "w.nrrd"), "b.csv")):
        inverse = ("--inverse",) if name == "a.csv" else ()
        succeed("points", *transforms, *inverse, "-i", scene / "points.csv", "-o", scene / name)
    first, second = (nephi.read_points(scene / name).coordinates for name in ("a.csv", "b.csv"))
    torch.testing.assert_close(first, second, rtol=0, atol=2e-3)


def test_affine_transform_is_exported_as_a_matrix(scene: Path, succeed: Call) -> None:
    for format, name in (("h5", "b.h5"), ("itk", "b.mat")):
        succeed("export", "-t", scene / "a.tfm", "-r", scene / "fixed.nii.gz", "--format", format, "-o", scene / name)
        far = torch.full((1, 3), 1e5, dtype=torch.float64)
        moved = nephi.read_transform(scene / name)(far)
        torch.testing.assert_close(moved - far, torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64))


def test_moving_grid_is_read_from_a_nephi_file(solid: Path, succeed: Call, call: Call, tmp_path: Path) -> None:
    transform, fixed, moving = solid / "result" / "transform.nephi", solid / "fixed.nii.gz", solid / "moving.nii.gz"
    refused = call("export", "-t", transform, "-r", fixed, "--format", "learn2reg", "-o", tmp_path / "w.nii.gz")
    assert (refused.code, refused.out) == (3, "")
    assert (
        "w.nii.gz: expected both images on one grid for the format learn2reg" in refused.err
        and refused.err.count("\n") == 1
    )
    points = nephi.read_image(fixed).grid.voxel_centres().double().reshape(-1, 3)[::997]
    for back, side in (((), fixed), (("--inverse",), moving)):
        other = nephi.read_image(moving if side == fixed else fixed).grid
        succeed("export", "-t", transform, *back, "-r", side, "--format", "fsl", "-o", tmp_path / "w.nii.gz")
        exported = nephi.read_transform(tmp_path / "w.nii.gz", nephi.io.FieldConvention("fsl", moving=other))
        points = nephi.read_image(side).grid.voxel_centres().double().reshape(-1, 3)[::997]
        whole = nephi.read_inverse(transform) if back else nephi.read_transform(transform)
        torch.testing.assert_close(exported(points), whole(points.float()).double(), rtol=0, atol=2e-3)


def test_wrong_usage(scene: Path, call: Call) -> None:
    def fails(code: int, printed: str, *arguments: object) -> None:
        command = ("export", "-t", scene / "u.nii.gz", "-r", scene / "fixed.nii.gz", *arguments)
        outcome = call(*command)
        assert (outcome.code, outcome.out) == (code, "")
        assert printed in outcome.err and outcome.err.count("\n") == 1

    out = scene / "out.nii.gz"
    message = "out.nii.gz: expected both images on one grid for the format learn2reg"
    fails(3, message, "--format", "learn2reg", "-o", out, "--moving",
          scene / "other.nii.gz")  # fmt: skip
    fails(2, "out.nii.gz: expected .nrrd for the format nrrd, got .nii.gz", "--format", "nrrd", "-o", out)
    fails(3, "nowhere", "--format", "itk", "-o", scene / "nowhere" / "out.nii.gz")
    fails(2, "--transform-fixed, --transform-moving: require --transform-format", "--format", "itk", "-o", out,
          "--transform-moving", scene / "other.nii.gz")  # fmt: skip
    assert not out.exists()
    succeeded = ("--format", "learn2reg", "-o", out, "-t", scene / "a.tfm")
    assert call("export", "-r", scene / "fixed.nii.gz", *succeeded).code == 0
    refused = call("points", "-t", out, "-i", scene / "points.csv", "-o", scene / "b.csv")
    assert refused.code == 3 and "--transform-format" in refused.err and refused.err.count("\n") == 1
