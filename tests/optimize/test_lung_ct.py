"""The lung preset on a real pair: 50 landmarks, placed on whole voxels of 1.4 x 1.4 x 2.5 mm."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nephi.geometry import determinant
from nephi.io import read_displacement, read_image, read_point_pairs
from nephi.metrics import evaluate
from nephi.optimize import register
from nephi.results import Registration
from nephi.transforms import fitting_field

from ..off_grid import distance_in_simpleitk


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "lung_ct"


@pytest.fixture(scope="module")
def result(folder: Path) -> Registration:
    return register(folder / "fixed.mha", folder / "moving.mha", preset="lung-ct")


@pytest.fixture(scope="module")
def output(result: Registration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lung_ct")
    result.save(path)
    return path


def test_accurate_smooth_and_consistent(result: Registration, folder: Path) -> None:
    measures = evaluate(
        result.transform,
        landmarks=read_point_pairs(folder / "landmarks.csv", "lps"),
        mask=read_image(folder / "fixed_mask.mha"),
        inverse=result.inverse,
        unrefined_inverse=result.stored.unrefined_inverse,
    ).table()
    assert measures["tre_mm"]["before"] == pytest.approx(34.99, abs=0.01)
    assert measures["tre_mm"]["mean"] < 1.25  # the landmarks are accurate to about 1 mm
    assert measures["regularity"]["folding_percent"] == 0
    assert measures["regularity"]["smallest"] > 0
    assert measures["inverse_consistency_mm"] < 1e-3
    assert measures["unrefined_inverse_mm"] < 0.3


def test_determinants_beside_each_other_are_alike(result: Registration, folder: Path) -> None:
    """Linear latent grids, whose Jacobians jump at their nodes, have 0.13 here."""
    mask = read_image(folder / "fixed_mask.mha")
    generator = torch.Generator().manual_seed(0)
    inside = (mask.data > 0).nonzero()
    points = mask.grid.voxel_to_world_points(
        inside[torch.randint(len(inside), (20_000,), generator=generator)].double()
    )
    steps = torch.randn(points.shape, generator=generator, dtype=torch.float64)
    beside = points + 0.5 * steps / steps.norm(dim=-1, keepdim=True)  # mm
    one, other = (determinant(result.transform.value_and_jacobian(each)[1]) for each in (points, beside))
    assert float((one - other).abs().quantile(0.99)) < 0.06


def test_simpleitk_measures_the_same_errors_of_the_exported_warp(output: Path, folder: Path, shared_data: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            str(shared_data.parent / "tools" / "score.py"),
            str(output / "warp.nii.gz"),
            "--landmarks",
            str(folder / "landmarks.csv"),
            "--mask",
            str(folder / "fixed_mask.mha"),
            "--json",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    landmarks, mask = read_point_pairs(folder / "landmarks.csv", "lps"), read_image(folder / "fixed_mask.mha")
    ours = evaluate(read_displacement(output / "warp.nii.gz"), landmarks=landmarks, mask=mask).table()
    for name in ("mean", "median", "p90", "max", "before"):
        expected = theirs["tre_before_mm" if name == "before" else f"tre_{name}_mm"]
        assert ours["tre_mm"][name] == pytest.approx(expected, abs=0.05)
    assert theirs["landmarks"] == ours["tre_mm"]["count"] == 50
    assert theirs["folding_percent"] == 0
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert report["whole_grid"]["folding_percent"] == 0
    assert theirs["sd_log_jacobian"] == pytest.approx(ours["regularity"]["sd_log_jacobian"], rel=0.1)


def test_exported_field_between_voxels(result: Registration, output: Path, folder: Path) -> None:
    """Exact at voxel centres; between them linear interpolation neglects the curvature of the transform."""
    mask, warp = read_image(folder / "fixed_mask.mha"), read_displacement(output / "warp.nii.gz")
    inside = (mask.data > 0).nonzero()
    generator = torch.Generator().manual_seed(0)
    voxels = inside[torch.randint(len(inside), (20_000,), generator=generator)].double()
    for shift, quantile, bound in ((0.0, 1.0, 1e-3), (1.0, 0.9, 0.05)):
        jitter = shift * (torch.rand(voxels.shape, generator=generator, dtype=torch.float64) - 0.5)
        points = mask.grid.voxel_to_world_points(voxels + jitter)
        errors = (warp(points) - result.transform(points)).norm(dim=-1)
        assert float(errors.quantile(quantile)) < bound and float(errors.mean()) < bound


def test_fitting_field_keeps_the_tolerance(result: Registration, tmp_path: Path, folder: Path) -> None:
    grid = read_image(folder / "fixed.mha").grid
    field = fitting_field(result.transform, grid, 0.05)
    assert field.deviation <= 0.05 and field.grid.size < 2 * grid.size
    assert distance_in_simpleitk(result.transform, field, grid, tmp_path / "warp.mha") < 0.06


def test_inverse_warp_maps_moving_landmarks_to_fixed_ones(output: Path, folder: Path) -> None:
    landmarks = read_point_pairs(folder / "landmarks.csv", "lps")
    inverse = read_displacement(output / "inverse_warp.nii.gz")
    back = inverse(landmarks.moving.coordinates)
    assert float((back - landmarks.fixed.coordinates).norm(dim=-1).mean()) < 1.35
