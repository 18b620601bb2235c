"""Transforms of other tools given to the commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch

import nephi

from .conftest import Call

ELASTIX = """\
(Transform "TranslationTransform")
(NumberOfParameters 2)
(TransformParameters {shift})
(InitialTransformParameterFileName "{initial}")
(HowToCombineTransforms "Compose")
(FixedImageDimension 2)
"""


@pytest.fixture
def elastix(tmp_path: Path) -> Path:
    """Two shifts one after the other, (3, -2) in RAS together."""
    (tmp_path / "TransformParameters.0.txt").write_text(ELASTIX.format(shift="-1 0", initial="NoInitialTransform"))
    last = tmp_path / "TransformParameters.1.txt"
    last.write_text(ELASTIX.format(shift="-2 2", initial="/gone/TransformParameters.0.txt"))
    return last


@pytest.fixture
def composite(tmp_path: Path) -> Path:
    """The same as a composite of ITK."""
    chain = sitk.CompositeTransform(2)
    for shift in ((-1.0, 0.0), (-2.0, 2.0)):
        chain.AddTransform(sitk.TranslationTransform(2, shift))
    sitk.WriteTransform(chain, str(tmp_path / "chain.h5"))
    return tmp_path / "chain.h5"


@pytest.mark.parametrize("kind", ["elastix", "composite"])
def test_points_images_and_measures(kind: str, request: pytest.FixtureRequest, tmp_path: Path, succeed: Call) -> None:
    transform = request.getfixturevalue(kind)
    points = torch.tensor([[0.0, 0.0], [4.0, 5.0]], dtype=torch.float64)
    shift = torch.tensor([3.0, -2.0], dtype=torch.float64)
    nephi.write_points(tmp_path / "fixed.csv", nephi.Points(points))
    succeed("points", "-t", transform, "-i", tmp_path / "fixed.csv", "-o", tmp_path / "moved.csv")
    torch.testing.assert_close(nephi.read_points(tmp_path / "moved.csv").coordinates, points + shift)
    nephi.write_point_pairs(tmp_path / "pairs.csv", nephi.PointPairs.from_coordinates(points, points + shift))
    given = ("--landmarks", tmp_path / "pairs.csv", "--json", tmp_path / "m.json", "-q")
    succeed("evaluate", "-t", transform, *given)
    assert max(json.loads((tmp_path / "m.json").read_text())["tre_mm"]["each"]) < 1e-6
    grid = nephi.Grid.from_spacing((16, 15), (1.0, 1.0))
    image = nephi.Image(torch.rand(16, 15, generator=torch.Generator().manual_seed(0)), grid)
    nephi.write_image(image, tmp_path / "image.nii.gz")
    same = ("-i", tmp_path / "image.nii.gz", "-r", tmp_path / "image.nii.gz", "-o", tmp_path / "warped.nii.gz")
    succeed("apply", "-t", transform, *same)
    warped = nephi.read_image(tmp_path / "warped.nii.gz").data
    torch.testing.assert_close(warped[:13, 2:], image.data[3:, :-2])


@pytest.mark.parametrize("kind", ["elastix", "composite"])
def test_a_start_for_register(
    kind: str, request: pytest.FixtureRequest, flat: Path, tmp_path: Path, succeed: Call
) -> None:
    transform, images = request.getfixturevalue(kind), ("-f", flat / "fixed.nii.gz", "-m", flat / "moving.nii.gz")
    brief = ("--config", flat / "brief.toml", "--transform", "affine", "-q")
    succeed("register", *images, "-o", tmp_path / "out", "--initial", transform, *brief)
    moved = nephi.read_transform(tmp_path / "out" / "transform.nephi")(torch.zeros(1, 2, dtype=torch.float64))
    assert (moved - torch.tensor([[3.0, -2.0]], dtype=torch.float64)).norm() < 3  # a few steps further


def test_mistakes_are_one_line(elastix: Path, tmp_path: Path, call: Call) -> None:
    nephi.write_points(tmp_path / "fixed.csv", nephi.Points(torch.zeros(1, 2)))
    (tmp_path / "TransformParameters.0.txt").unlink()
    outcome = call("points", "-t", elastix, "-i", tmp_path / "fixed.csv", "-o", tmp_path / "moved.csv")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.startswith(f"nephi: error: {elastix}: its initial transform") and outcome.err.count("\n") == 1
