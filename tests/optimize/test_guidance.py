"""Registrations that landmarks and labels guide."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nephi.errors import DataError, DataWarning, UsageError
from nephi.geometry import PointPairs
from nephi.images import Image
from nephi.metrics import landmark_errors
from nephi.optimize import initial_alignment, plan, register
from nephi.optimize.landmark_alignment import align_landmarks
from nephi.phantoms import PhantomPair
from nephi.preparation.guidance import Guidance
from nephi.preparation.pair import make_pair
from nephi.results import Registration
from nephi.settings import GuidanceSettings, ImageSettings, Settings, settings_table
from nephi.transforms import AffineTransform


def every_second(pairs: PointPairs, start: int, errors: torch.Tensor | None = None) -> PointPairs:
    fixed, moving = (side.coordinates[start::2] for side in (pairs.fixed, pairs.moving))
    names = [f"p{i}" for i in range(len(fixed))]
    return PointPairs.from_coordinates(fixed, moving if errors is None else moving + errors, names)


def mean_error(result: Registration, pairs: PointPairs) -> float:
    return float(landmark_errors(result.transform, pairs).after.mean())


@pytest.fixture(scope="module")
def guided(shapes: PhantomPair, quick: Settings) -> Registration:
    """Guided by half of the landmarks, every tenth of them wrong by 10 mm."""
    errors = torch.zeros_like(shapes.landmarks.fixed.coordinates[::2])
    angles = torch.arange(10, dtype=torch.float64) * 2.4
    errors[::10] = 10 * torch.stack([angles.cos(), angles.sin()], dim=1)
    guide = every_second(shapes.landmarks, 0, errors)
    settings = replace(quick, guidance=GuidanceSettings(landmarks=2.0))
    return register(shapes.fixed, shapes.moving, settings=settings, guide_landmarks=guide)


def test_landmarks_help_and_wrong_ones_do_not_hurt(guided: Registration, shapes: PhantomPair, quick: Settings) -> None:
    held_out = every_second(shapes.landmarks, 1)
    unguided = register(shapes.fixed, shapes.moving, settings=quick)
    assert mean_error(guided, held_out) < 0.95 * mean_error(unguided, held_out)
    assert guided.history[-1]["guide_landmarks"] > 0
    assert "guide_landmarks" not in unguided.history[-1] and "guidance" not in settings_table(unguided.settings)


def test_report_separates_guiding_landmarks_and_names_wrong_ones(
    guided: Registration, shapes: PhantomPair, tmp_path: Path
) -> None:
    with pytest.warns(DataWarning, match=r"guiding landmarks: 10 of 100 pairs .* left unmatched.*: p0, p10, p20"):
        report = guided.save(tmp_path / "result", landmarks=every_second(shapes.landmarks, 1), outputs=["report"])
    table = report["guidance"]["landmarks"]
    assert [row["id"] for row in table["unmatched"]] == [f"p{i}" for i in range(0, 100, 10)]
    assert table["count"] == 100 and table["weight"] == 2.0
    assert table["median"] < 1 < table["mean"] and report["tre_mm"]["max"] < table["max"]
    assert report["settings"]["guidance"]["landmarks"] == 2.0


def test_pairs_that_do_not_belong_together_are_reported(shapes: PhantomPair, brief: Settings, tmp_path: Path) -> None:
    fixed, moving = (side.coordinates for side in (shapes.landmarks.fixed, shapes.landmarks.moving))
    exchanged = PointPairs.from_coordinates(fixed, moving.roll(len(moving) // 2, dims=0))
    result = register(shapes.fixed, shapes.moving, settings=brief, guide_landmarks=exchanged)
    with pytest.warns(DataWarning, match=r"guiding landmarks: half of the \d+ pairs are still .* \(--frame\)"):
        result.save(tmp_path, outputs=["report"])


def test_labels_lower_their_own_distance(shapes: PhantomPair, brief: Settings, tmp_path: Path) -> None:
    labels = tuple(
        Image((mask.data > 0).to(torch.uint8), mask.grid, name=str(tmp_path / "labels" / "warped.nii.gz"))
        for mask in (shapes.fixed_mask, shapes.moving_mask)
    )
    results = [register(shapes.fixed, shapes.moving, settings=brief, guide_labels=guide) for guide in (None, labels)]
    reports = [r.save(tmp_path / str(n), outputs=["report"]) for n, r in enumerate(results)]
    guided = reports[1]["guidance"]["labels"]
    assert guided["before"] < guided["mean"] and list(guided["labels"]) == ["1"]
    assert "guidance" not in reports[0] and results[1].history[0]["guide_labels"] > 0
    with pytest.raises(DataError, match=r"warped\.nii\.gz: is an input"):
        results[1].save(tmp_path / "labels")


def test_labels_that_stay_apart_are_named(shapes: PhantomPair, brief: Settings, tmp_path: Path) -> None:
    maps = []
    for image, corner in ((shapes.fixed, slice(10, 13)), (shapes.moving, slice(-13, -10))):
        data = torch.zeros(image.grid.shape, dtype=torch.uint8)
        data[corner, corner] = 7
        maps.append(Image(data, image.grid))
    result = register(shapes.fixed, shapes.moving, settings=brief, guide_labels=(maps[0], maps[1]))
    with pytest.warns(DataWarning, match="guiding labels: 1 of 1 do not overlap after the registration: 7; check"):
        result.save(tmp_path, outputs=["report"])


def test_plan_counts_the_guides(shapes: PhantomPair, brief: Settings) -> None:
    settings = Settings(guidance=GuidanceSettings(landmarks=2.0), levels=brief.levels)
    planned = plan(shapes.fixed, shapes.moving, settings=settings, guide_landmarks=every_second(shapes.landmarks, 0))
    assert (planned.guidance.landmarks, planned.guidance.labels, planned.guidance.channels) == (100, 0, ())


@pytest.mark.parametrize("dimension", [2, 3])
def test_landmarks_align_in_spite_of_wrong_ones(dimension: int) -> None:
    generator = torch.Generator().manual_seed(dimension)
    points = 40 * torch.randn(60, dimension, generator=generator, dtype=torch.float64)
    skew = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
    matrix = torch.eye(dimension + 1, dtype=torch.float64)
    matrix[:-1, :-1] = torch.matrix_exp(skew - skew.T)
    matrix[:-1, -1] = 25.0
    true = AffineTransform(matrix)
    moving = true(points)
    moving[:18] += 60 * torch.randn(18, dimension, generator=generator, dtype=torch.float64)
    found = align_landmarks(PointPairs.from_coordinates(points, moving), 0.5)
    assert float((found(points) - true(points)).norm(dim=-1).max()) < 0.05


def test_the_start_by_landmarks_uses_their_accuracy(shapes: PhantomPair) -> None:
    """Three of five are exact: with a coarse accuracy those that are wrong by 6 mm are averaged, too."""
    points = shapes.landmarks.fixed.coordinates[[0, 40, 80, 120, 160]]
    errors = torch.tensor([[0.0, 0.0]] * 3 + [[6.0, 0.0]] * 2, dtype=torch.float64)
    pair = make_pair(shapes.fixed, shapes.fixed, None, None, ImageSettings())
    pair = replace(pair, guidance=Guidance(landmarks=PointPairs.from_coordinates(points, points + errors)))
    fine, coarse = (initial_alignment(pair, "landmarks", GuidanceSettings(accuracy=mm)) for mm in (0.1, 20.0))
    distances = [float((found(points) - points).norm(dim=-1).mean()) for found in (fine, coarse)]
    assert distances[0] < 0.3 and distances[1] > 1.0


def test_landmarks_as_the_start_of_turned_images(shapes: PhantomPair, brief: Settings) -> None:
    """Turned by 150 degrees, farther than the search over rotations reaches."""
    angle = torch.tensor(2.6, dtype=torch.float64)
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[:2, :2] = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    turned = shapes.moving.with_grid(shapes.moving.grid.transformed(matrix))
    moving = AffineTransform(matrix)(shapes.landmarks.moving.coordinates)
    pairs = PointPairs.from_coordinates(shapes.landmarks.fixed.coordinates, moving)
    result = register(shapes.fixed, turned, settings=brief, guide_landmarks=pairs, initial="landmarks")
    assert float(landmark_errors(result.stored.affine, pairs).after.mean()) < 3
    with pytest.raises(UsageError, match="requires guide_landmarks"):
        register(shapes.fixed, turned, settings=brief, initial="landmarks")
