"""Fixtures: the command line called in-process, and small image files with a known motion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from click.testing import CliRunner

import nephi
from nephi.cli.main import cli, main

QUICK = """\
[affine]
steps = 60
points = 1000

[field]
spacings = [48.0, 24.0, 12.0]

[objective]
points = 256
radius = 1

[[levels]]
steps = 50
smoothing = 3.0
spacing = 4.0

[[levels]]
steps = 70
smoothing = 0.0
spacing = 3.0
"""
BRIEF = """\
[affine]
initial = "moments"
steps = 4

[[levels]]
steps = 4
smoothing = 3.0
spacing = 4.0
"""


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


Call = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the variable after each test: `main` sets it where it is missing."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run `nephi ...` in this process, with the error handling of the command."""

    def run(*arguments: Any) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Outcome(ended.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def succeed(call: Call) -> Call:
    """Run `nephi ...` and require exit code 0 and an empty standard error (a pipe in tests)."""

    def run(*arguments: Any) -> Outcome:
        outcome = call(*arguments)
        assert (outcome.code, outcome.err) == (0, "")
        return outcome

    return run


def invoke(*arguments: Any) -> str:
    """Run `nephi ...` for fixtures of a wider scope than one test."""
    result = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def save_pair(pair: nephi.phantoms.PhantomPair, folder: Path) -> None:
    for name in ("fixed", "moving", "fixed_mask", "moving_mask"):
        nephi.write_image(getattr(pair, name), folder / f"{name}.nii.gz")
    nephi.write_point_pairs(folder / "landmarks.csv", pair.landmarks)
    nephi.write_points(folder / "fixed_points.csv", pair.landmarks.fixed)
    nephi.write_points(folder / "moving_points.csv", pair.landmarks.moving)
    (folder / "quick.toml").write_text(QUICK, encoding="utf-8")
    (folder / "brief.toml").write_text(BRIEF, encoding="utf-8")


def sectors(points: torch.Tensor) -> torch.Tensor:
    """Labels 3, 7, 12, 200 by quarter of the moving phantom's disc, 0 outside, at world points."""
    quarter = (points[..., 0] > 0).long() + 2 * (points[..., 1] > 0).long()
    names = torch.tensor([3, 7, 12, 200])[quarter]
    return names * ((points / torch.tensor([66.0, 58.0])).norm(dim=-1) < 1)


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2-D phantom on two different grids (one oblique and left-handed), with labels, points and settings."""
    folder = tmp_path_factory.mktemp("flat")
    pair = nephi.phantoms.shapes_phantom(seed=1, motion=6.0, shape=(96, 96))
    save_pair(pair, folder)
    for name, grid, transform in (
        ("fixed_labels", pair.fixed.grid, pair.transform),
        ("moving_labels", pair.moving.grid, lambda x: x),
    ):
        labels = sectors(transform(grid.voxel_centres())).to(torch.uint8)
        nephi.write_image(nephi.Image(labels, grid), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="session")
def flat_result(flat: Path) -> Path:
    """The 2-D phantom registered by the command line."""
    output = flat / "result"
    invoke("register", *pair_options(flat), "-o", output, "--config", flat / "quick.toml")
    return output


@pytest.fixture(scope="session")
def brief_result(flat: Path) -> Path:
    """The 2-D phantom registered with very few steps."""
    output = flat / "brief_result"
    invoke("register", *pair_options(flat), "-o", output, "--config", flat / "brief.toml")
    return output


@pytest.fixture(scope="session")
def solid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small 3-D chest CT pair, the moving grid oblique with permuted axes, and its registration in `result`."""
    folder = tmp_path_factory.mktemp("solid")
    save_pair(nephi.phantoms.lung_phantom(seed=1, motion=15.0, shape=(52, 40, 44)), folder)
    invoke(
        "register",
        *pair_options(folder),
        "-o",
        folder / "result",
        "--preset",
        "lung-ct",
        "--config",
        folder / "quick.toml",
    )
    return folder


def pair_options(folder: Path) -> list[Any]:
    return ["-f", folder / "fixed.nii.gz", "-m", folder / "moving.nii.gz"]


@pytest.fixture(scope="session")
def solid_affine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ITK affine file (LPS): rotation, scaling and translation in 3-D."""
    path = tmp_path_factory.mktemp("affine") / "a.tfm"
    affine = sitk.AffineTransform(3)
    affine.SetMatrix([1.05, 0.1, 0.0, -0.08, 0.97, 0.05, 0.02, 0.0, 1.1])
    affine.SetTranslation([4.0, -7.0, 2.5])
    sitk.WriteTransform(affine, str(path))
    return path


def itk_resample(moving: Path, reference: Path, transform: Any, interpolator: int, outside: float) -> np.ndarray:
    """SimpleITK's warped image in float32, `(z, y, x)`."""
    image = sitk.Cast(sitk.ReadImage(str(moving)), sitk.sitkFloat32)
    grid = sitk.ReadImage(str(reference))
    return sitk.GetArrayFromImage(sitk.Resample(image, grid, transform, interpolator, outside, sitk.sitkFloat32))


def itk_field(path: Path) -> Any:
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))


def voxels(path: Path) -> np.ndarray:
    """The voxels as nibabel reads them, `(x, y, z)`."""
    return np.asarray(nibabel.load(path).dataobj)


def write_like(path: Path, data: np.ndarray, like: Path) -> Path:
    """Write voxels with the affine of another file."""
    nibabel.save(nibabel.Nifti1Image(data, nibabel.load(like).affine), path)
    return path
