"""Keypoints that follow known maps: KeyMorph's pre-training as a phase."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import nephi
from nephi.comparison.costs import measure_step_cost
from nephi.errors import UsageError
from nephi.models import DisplacementUNetSettings, KeyMorphSettings, input_grid, read_model
from nephi.settings import TrainingObjectiveSettings
from nephi.training import AugmentationSettings, PhaseSettings, TrainSettings
from nephi.training.cache import ModelInputCache
from nephi.training.pairs import TrainingPairs
from nephi.training.seeding import SampleKey

from .conftest import rows, with_loop

pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric: pip install nephi[train]")
pytest.importorskip("tensorboard", reason="training needs TensorBoard: pip install nephi[train]")

STEPS = 30
FOLLOW = PhaseSettings(STEPS, objective={"keypoints": 1.0, "similarity_weight": 0.0})


@pytest.fixture
def pretraining(settings: TrainSettings) -> TrainSettings:
    longer = with_loop(settings, steps=STEPS + 2, rate=3e-2, batch=4, validation_interval=STEPS + 2)
    return replace(
        longer,
        model=KeyMorphSettings(6, (4, 8, 8)),
        objective=TrainingObjectiveSettings(similarity="mse", gradicon=0.0, codes=0.0, points=100),
        augmentation=AugmentationSettings(shift=5.0, images="moving"),
        phases=(FOLLOW,),
    )


def pairs_of(settings: TrainSettings) -> TrainingPairs:
    index = nephi.datasets.read_dataset_index(settings.data.index)
    return TrainingPairs(index, settings, ModelInputCache(index, settings.input, 0))


def test_keypoints_follow_the_maps_in_a_phase(pretraining: TrainSettings, tmp_path: Path) -> None:
    """The error of the keypoints halves in 30 steps; the phase has no other term, the steps after it do not have it."""
    result = nephi.train(pretraining, tmp_path / "run")
    found = rows(tmp_path / "run" / "log.csv")
    assert ["keypoints" in row for row in found] == ["similarity" not in row for row in found]
    assert ["keypoints" in row for row in found] == [True] * STEPS + [False] * 2
    errors = [row["keypoints"] for row in found[:STEPS]]
    assert all(row["loss"] == row["keypoints"] for row in found[:STEPS])
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])
    model = read_model(result.last).model
    sample = pairs_of(pretraining)[SampleKey(0, 9)]  # not one of the training's
    found_points = model.keypoints(torch.stack([sample.fixed.values, sample.moving.values]))
    assert found_points is not None
    expected = torch.stack([sample.fixed.keypoints, sample.moving.keypoints])
    assert float((found_points.points.detach() - expected).norm(dim=-1).mean()) < 0.5 * errors[0]


def test_points_are_those_of_the_reference_mapped_as_its_image(pretraining: TrainSettings) -> None:
    pairs = pairs_of(pretraining)
    points, grid = pairs.keypoints, input_grid(pretraining.input)
    assert points is not None and points.shape == (6, 2)
    values = pairs.inputs[pairs.pairs[0].fixed].values[0]
    voxels = grid.world_to_voxel_points(points).round().long()
    contrast = (values - pretraining.input.outside).abs()
    assert bool((contrast[voxels[:, 0], voxels[:, 1]] > contrast.mean()).all())
    sample = pairs[SampleKey(3, 1)]
    assert torch.equal(sample.fixed.keypoints, points) and not torch.allclose(sample.moving.keypoints, points, atol=0.1)
    torch.testing.assert_close(sample.moving.keypoints - points, (sample.moving.keypoints - points)[:1].expand(6, 2))
    assert torch.equal(pairs_of(pretraining).keypoints, points)
    other = replace(pretraining, data=replace(pretraining.data, reference="s3"))
    assert not torch.equal(pairs_of(other).keypoints, points)


def test_phases_shorter_than_the_measurement_of_a_comparison(pretraining: TrainSettings) -> None:
    """Its steps reach beyond the phase whose terms they have."""
    short = with_loop(replace(pretraining, phases=(replace(FOLLOW, steps=1),)), steps=2)
    cost = measure_step_cost(short, "cpu", 1e-3)
    assert cost.seconds > 0


def test_unusable_settings_are_one_line(pretraining: TrainSettings, tmp_path: Path) -> None:
    objective = replace(pretraining.objective, icon=0.0, keypoints=1.0)
    unet = replace(pretraining, model=DisplacementUNetSettings((4, 4)), objective=objective, phases=())
    unknown = replace(pretraining, data=replace(pretraining.data, reference="s5"))
    still = replace(pretraining, augmentation=AugmentationSettings(gamma=0.1))
    for changed, message in (
        (unet, r"objective\.keypoints: expected 0 for model\.kind = 'unet' \(no keypoints\), got 1\.0"),
        (still, r"objective\.keypoints: expected 0 without"),
        (unknown, r"data\.reference: expected the id of an image of the split train, got 's5'"),
        (
            replace(unknown, phases=()),
            r"data\.reference: expected none without a weight",
        ),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            nephi.train(changed, tmp_path / "run")
        assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
