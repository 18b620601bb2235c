"""Files of points of other tools in `points` and `evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import nephi

from .conftest import Call

SHIFT = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """An image, a translation, and fixed and moving points as voxel indices from 1."""
    grid = nephi.Grid.from_spacing((12, 11, 10), (1.0, 2.0, 3.0), (-10.0, -12.0, -14.0))
    nephi.write_image(nephi.Image(torch.zeros(grid.shape), grid), tmp_path / "image.nii.gz")
    nephi.io.write_affine(tmp_path / "a.tfm", nephi.AffineTransform.translation(SHIFT))
    (tmp_path / "fixed.txt").write_text("3 4 5\n6 7 8\n")
    (tmp_path / "moving.txt").write_text("4 3 6\n7 6 9\n")
    return tmp_path


def test_dirlab_to_slicer_and_back(scene: Path, succeed: Call) -> None:
    t, image = ("-t", scene / "a.tfm"), scene / "image.nii.gz"
    dirlab = ("--points-format", "dirlab", "--points-reference", image)
    succeed("points", *t, "-i", scene / "fixed.txt", *dirlab, "-o", scene / "moved.mrk.json")
    succeed("points", *t, "--inverse", "-i", scene / "moved.mrk.json", "-o", scene / "back.pts")
    expected = nephi.read_points(scene / "fixed.txt", format="dirlab", reference=nephi.read_image(image).grid)
    back = nephi.read_points(scene / "back.pts").coordinates
    torch.testing.assert_close(back, expected.coordinates)
    succeed("points", *t, "-i", scene / "back.pts", "-o", scene / "again.fcsv", "--frame", "ras")
    again = nephi.read_points(scene / "again.fcsv").coordinates
    torch.testing.assert_close(again, back + SHIFT)
    assert "CoordinateSystem = RAS" in (scene / "again.fcsv").read_text(encoding="utf-8")


@pytest.mark.parametrize("flip", ["", "z", "XY"])
def test_landmarks_in_two_files(scene: Path, call: Call, flip: str) -> None:
    image = scene / "image.nii.gz"
    sides = ("--landmarks", scene / "fixed.txt", "--moving-landmarks", scene / "moving.txt")
    dirlab = ("--points-format", "dirlab", "--points-reference", image, "--flip", flip)
    completed = call("evaluate", "-t", scene / "a.tfm", *sides, *dirlab, "--json", scene / "m.json", "-q")
    assert completed.code == 0
    assert ("with x and y reversed" in completed.err) == (flip == "XY")
    worst = max(json.loads((scene / "m.json").read_text(encoding="utf-8"))["tre_mm"]["each"])
    assert worst < 1e-9 if not flip else worst > 1


def test_wrong_usage(scene: Path, call: Call) -> None:
    def fails(code: int, message: str, *arguments: object) -> None:
        outcome = call(*arguments)
        assert (outcome.code, outcome.out) == (code, "")
        assert message in outcome.err and outcome.err.count("\n") == 1

    t, out = ("-t", scene / "a.tfm"), ("-o", scene / "out.csv")
    fails(3, "give --points-format dirlab", "points", *t, "-i", scene / "fixed.txt", *out)
    fails(2, "--points-reference", "points", *t, "-i", scene / "fixed.txt", *out, "--points-format", "dirlab")
    fails(2, "--moving-landmarks: requires --landmarks", "evaluate", *t, "--moving-landmarks", scene / "moving.txt")
    fails(2, "--moving-landmarks", "evaluate", *t, "--landmarks", scene / "fixed.txt", "--points-format", "elastix")
    nephi.write_points(scene / "two.fcsv", nephi.Points(torch.zeros(2, 3)))
    nephi.write_points(scene / "three.fcsv", nephi.Points(torch.zeros(3, 3)))
    sides = ("--landmarks", scene / "two.fcsv", "--moving-landmarks", scene / "three.fcsv")
    fails(3, "two.fcsv", "evaluate", *t, *sides)
    assert not (scene / "out.csv").exists()
