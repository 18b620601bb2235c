"""The scores of a trained model: its predictions for unseen pairs, and their cost."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor

from nephi.comparison.plan import scored_pairs
from nephi.comparison.settings import ScoringSettings
from nephi.datasets import DatasetIndex, DatasetPair
from nephi.metrics import FoldingStatistics
from nephi.models import PairNetwork, RegistrationModel, StoredModel, Swapped
from nephi.optimize import Progress, ProgressCallback
from nephi.training.cache import ModelInputCache
from nephi.training.equivariance import equivariance_errors
from nephi.training.validation import POINTS, validate_pair

CACHE = 1e9  # bytes of model inputs kept
WORST = 100  # the mean of the worst 1 / WORST of the pairs is a score
MEASURES = (
    "dice",
    "dice_before",
    "tre_mm",
    "tre_before_mm",
    "folding_percent",
    "sd_log_jacobian",
    "inverse_error_mm",
)
"""The measures of a pair of which the mean over the pairs is a score."""

Row = dict[str, Any]


def score_model(
    stored: StoredModel, index: DatasetIndex, scoring: ScoringSettings, device: torch.device, progress: ProgressCallback
) -> tuple[dict[str, float], list[Row]]:
    """Return the scores of a model, and the measures of each pair.

    Means over the pairs of the Dice of labels, the error of landmarks (mm), the voxel centres of the model's box with
    `det J <= 0` (%), the standard deviation of log det J, and the inverse error (mm) with the predicted inverse, for a
    model that predicts none with its prediction for the exchanged images. Also the smallest det J and the largest
    inverse error of all pairs, the mean Dice of the worst hundredth of them, the errors of equivariance (mm), the
    number of trained parameters, and the CPU seconds of a prediction.
    """
    model = stored.model.to(device).eval()
    both_ways: PairNetwork = model if model.outputs(model.settings).inverse else Swapped(model)
    inputs = ModelInputCache(index, stored.input, CACHE)
    pairs = scored_pairs(index, scoring)
    rows = []
    for number, pair in enumerate(pairs, start=1):
        rows.append(_score_pair(both_ways, pair, inputs, device))
        progress(Progress("score", number, len(pairs), 0.0))
    scores = _mean_scores(rows)
    scores["parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    scores |= _equivariance(model, pairs[: scoring.equivariance_pairs], inputs, device, scoring)
    images = [inputs[id].values[None] for id in (pairs[0].fixed, pairs[0].moving)]
    scores["prediction_cpu_s"] = prediction_seconds(model, images, device, scoring.repetitions)
    return scores, rows


def _score_pair(model: PairNetwork, pair: DatasetPair, inputs: ModelInputCache, device: torch.device) -> Row:
    validated = validate_pair(model, pair, inputs, device)
    statistics = FoldingStatistics()
    statistics.add(validated.determinants)
    regularity = statistics.result()
    row = {**validated.measures, "sd_log_jacobian": regularity.sd_log_jacobian, "smallest": regularity.smallest}
    return {"pair": validated.name, **row}


def _mean_scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    scores: dict[str, float] = {"pairs": len(rows)}
    for name in MEASURES:
        if values := [row[name] for row in rows if name in row]:
            scores[name] = fmean(values)
    if dice := sorted(row["dice"] for row in rows if "dice" in row):
        scores["dice_worst_percent"] = fmean(dice[: max(1, len(dice) // WORST)])
    scores["smallest"] = min(row["smallest"] for row in rows)
    scores["inverse_error_max_mm"] = max(row["inverse_error_max_mm"] for row in rows)
    return scores


def _equivariance(
    model: RegistrationModel[Any],
    pairs: Sequence[DatasetPair],
    inputs: ModelInputCache,
    device: torch.device,
    scoring: ScoringSettings,
) -> dict[str, float]:
    """Return the mean equivariance errors, mm, over the pairs of which points remain inside the images."""
    generator = torch.Generator().manual_seed(0)  # the same movements for every model
    errors: dict[str, list[float]] = {}
    for pair in pairs:
        fixed, moving = (inputs[id].values[None].to(device) for id in (pair.fixed, pair.moving))
        measured = equivariance_errors(model, fixed, moving, generator, shift=scoring.shift, rotation=scoring.rotation)
        for name, value in measured.items():
            if not math.isnan(value):
                errors.setdefault(name, []).append(value)
    return {name: fmean(values) for name, values in errors.items()}


@torch.no_grad()
def prediction_seconds(
    model: RegistrationModel[Any], images: Sequence[Tensor], device: torch.device, repetitions: int
) -> float:
    """Return the median CPU seconds of a prediction: the forward pass, and phi at the voxel centres of the box.

    `images` are the fixed and the moving one, `(1, 1, *shape)`; of a prediction on a GPU the wall time.
    """
    fixed, moving = (image.to(device) for image in images)
    points = model.grid.voxel_centres().reshape(1, -1, model.grid.dimension).to(device, torch.float32)
    clock = time.process_time if device.type == "cpu" else time.perf_counter

    def predict() -> float:
        start = clock()
        maps = model(fixed, moving).forward
        for block in points.split(POINTS, dim=1):
            maps(block)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock() - start

    predict()  # lazy initialisations
    return median(predict() for _ in range(repetitions))
