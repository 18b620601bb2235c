"""Scores of models whose predictions are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import nephi
from nephi.comparison import ScoringSettings
from nephi.comparison.scoring import score_model
from nephi.geometry import Grid
from nephi.models import InputSettings, StoredModel, input_grid
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import AffineMaps, MapPair

from ..models.translation import TranslationModel, TranslationSettings

BOX = InputSettings((20, 20), (1.0, 1.0), window=(0.0, 1.0))


class Doubled(TranslationModel):
    """Predict `x -> 2 x + t` about the origin without an inverse, `t` for any pair of images."""

    predicts_inverse = False

    def forward(self, fixed: Tensor, moving: Tensor, pair_ids: Tensor | None = None) -> MapPair:
        matrices = 2 * torch.eye(2, dtype=torch.float32).expand(len(fixed), -1, -1)
        return MapPair(AffineMaps(matrices, torch.tensor([[3.0, 0.0]], dtype=torch.float32).expand(len(fixed), -1)))


def scores_of(kind: type[TranslationModel], folder: Path) -> dict[str, float]:
    grid: Grid = input_grid(BOX)
    model = kind(TranslationSettings(), grid, torch.Generator().manual_seed(0))
    stored = StoredModel(model, BOX, TrainingObjectiveSettings())
    index = nephi.datasets.read_dataset_index(folder / "shapes")
    scoring = ScoringSettings("test", pairs=4, repetitions=1, equivariance_pairs=2)
    scores, rows = score_model(stored, index, scoring, torch.device("cpu"), lambda _: None)
    assert len(rows) == scores["pairs"] == 4
    return scores


def test_the_identity_scores_as_the_initial_alignment(folder: Path) -> None:
    scores = scores_of(TranslationModel, folder)
    assert scores["dice"] == pytest.approx(scores["dice_before"])
    assert (scores["folding_percent"], scores["sd_log_jacobian"], scores["smallest"]) == (0, 0, 1)
    assert scores["inverse_error_mm"] == scores["inverse_error_max_mm"] == 0
    assert scores["equivariance_uu_mm"] < 1e-4 < 1 < scores["equivariance_wu_mm"]  # the images' own shift is missed
    assert scores["parameters"] == 6 and scores["prediction_cpu_s"] >= 0


def test_a_missing_inverse_is_the_prediction_for_the_exchanged_images(folder: Path) -> None:
    """`psi(phi(x)) - x = 2 (2 x + t) + t - x = 3 (x + t)`, at the voxel centres of the box."""
    scores = scores_of(Doubled, folder)
    distances = 3 * (input_grid(BOX).voxel_centres() + torch.tensor([3.0, 0.0], dtype=torch.float64)).norm(dim=-1)
    assert scores["inverse_error_mm"] == pytest.approx(float(distances.mean()), rel=1e-5)
    assert scores["inverse_error_max_mm"] == pytest.approx(float(distances.max()), rel=1e-5)
    assert scores["smallest"] == pytest.approx(4.0) and scores["sd_log_jacobian"] == pytest.approx(0, abs=1e-3)
