"""Measures of a model's predictions for the validation pairs of a data set."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.datasets import DatasetIndex, DatasetPair
from nephi.geometry import Grid, PointMap, determinant, interpolate_batch
from nephi.images import resample
from nephi.io import read_image, read_point_pairs
from nephi.losses import ncc
from nephi.metrics import FoldingStatistics, StreamingInverseError, dice, landmark_errors
from nephi.models import PairNetwork, input_grid, world_transform
from nephi.training.cache import ModelInputCache
from nephi.transforms import AffineTransform, MapPair, Maps

MEASURES = (
    "dice",
    "dice_before",
    "tre_mm",
    "tre_before_mm",
    "ncc",
    "ncc_before",
    "folding_percent",
    "log_jacobian_sd",
    "inverse_error_mm",
    "inverse_error_max_mm",
)
POINTS = 200_000  # evaluated at once
LARGER_IS_BETTER = {"dice": 1.0, "tre_mm": -1.0, "ncc": 1.0}  # the first of these that was measured ranks the models


@dataclass(frozen=True, eq=False)
class ValidatedPair:
    """A pair of model inputs, the predicted transform at their voxel centres, and the measures.

    `fixed`, `moving`, `warped` and `determinants` are `(1, *shape)` on the model's box, `displaced` `(N, D)` are the
    transformed voxel centres, mm.
    """

    name: str
    fixed: Tensor
    moving: Tensor
    warped: Tensor
    displaced: Tensor
    determinants: Tensor
    measures: dict[str, float]


def chosen_pairs(index: DatasetIndex, most: int) -> list[DatasetPair]:
    """Return at most `most` pairs of the split `val`, evenly spaced in its list; none where there is no such split."""
    if "val" not in index.splits:
        return []
    pairs = index.pairs("val")
    count = min(most, len(pairs))
    return [pairs[k * len(pairs) // count] for k in range(count)]


@torch.no_grad()
def validate_pair(
    model: PairNetwork, pair: DatasetPair, inputs: ModelInputCache, device: torch.device
) -> ValidatedPair:
    """Measure the transform that `model` predicts for a pair.

    dice: mean over the labels that both images hold, on the grid of the model's box, by nearest neighbour;
    tre_mm: mean distance of landmarks; ncc: Pearson's correlation of the model inputs; folding_percent: voxel centres
    of the box with `det J <= 0`, J in closed form; log_jacobian_sd: standard deviation of `log det J` over the others;
    inverse_error_mm, inverse_error_max_mm: mean and maximum of `|inverse(phi(x)) - x|` at the voxel centres. Names with
    `before` measure the initial alignment of the inputs. Measures without labels, landmarks or a predicted inverse are
    left out.

    Raises `DataError` naming files that do not belong together.
    """
    grid = input_grid(inputs.settings)
    fixed, moving = inputs[pair.fixed], inputs[pair.moving]
    prediction: MapPair = model(fixed.values[None].to(device), moving.values[None].to(device))
    displaced, determinants = _evaluate(prediction.forward, grid, device)
    warped = interpolate_batch(moving.values[None], grid, displaced[None]).reshape(fixed.values.shape)
    folding = FoldingStatistics()
    folding.add(determinants)
    logarithms = determinants[determinants > 0].double().log()
    measures = {
        "ncc": 1 - float(ncc(fixed.values.flatten(1), warped.flatten(1))),
        "ncc_before": 1 - float(ncc(fixed.values.flatten(1), moving.values.flatten(1))),
        "folding_percent": folding.result().folding_percent,
        "log_jacobian_sd": float(logarithms.std(correction=0)) if logarithms.numel() else math.nan,
    }
    transform = world_transform(_in_blocks(prediction.forward, device), fixed, moving)
    if prediction.inverse is not None:
        inverse = world_transform(_in_blocks(prediction.inverse, device), moving, fixed)
        displaced_world = AffineTransform(moving.to_world)(displaced.double())
        measures |= _inverse_errors(inverse, grid.transformed(fixed.to_world), displaced_world)
    aligned = world_transform(lambda points: points, fixed, moving)
    for suffix, each in (("", transform), ("_before", aligned)):
        measures |= _measure_files(pair, inputs.index, grid.transformed(fixed.to_world), each, suffix)
    name = f"{pair.fixed}--{pair.moving}"
    return ValidatedPair(name, fixed.values, moving.values, warped, displaced, determinants, measures)


def mean_measures(rows: Tensor) -> dict[str, float]:
    """Return the means over pairs of their `MEASURES` `(P, len(MEASURES))`, NaN where a pair has none."""
    means = zip(MEASURES, rows.nanmean(dim=0).tolist(), strict=True)
    return {name: value for name, value in means if value == value}


def row_of(measures: dict[str, float]) -> Tensor:
    """Return the measures of a pair as a row of `mean_measures`."""
    return torch.tensor([measures.get(name, torch.nan) for name in MEASURES], dtype=torch.float64)


def score(measures: dict[str, float]) -> tuple[str, float]:
    """Return the name of the measure that ranks models, and its value, signed such that larger is better."""
    name = next(name for name in LARGER_IS_BETTER if name in measures)
    return name, LARGER_IS_BETTER[name] * measures[name]


def _evaluate(maps: Maps, grid: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return values `(N, D)` and Jacobian determinants `(1, *shape)` at the voxel centres of `grid`, on the CPU."""
    values, determinants = [], []
    for points in grid.voxel_centres().reshape(1, -1, grid.dimension).split(POINTS, dim=1):
        displaced, jacobians = maps.value_and_jacobian(points.to(device))
        values.append(displaced[0].cpu())
        determinants.append(determinant(jacobians[0]).cpu())
    return torch.cat(values), torch.cat(determinants).reshape(1, *grid.shape)


def _in_blocks(maps: Maps, device: torch.device) -> PointMap:
    """Return the map of a batch of one pair as a function of points `(..., D)` on the CPU."""

    def evaluate(points: Tensor) -> Tensor:
        blocks = points.reshape(1, -1, points.shape[-1]).split(POINTS, dim=1)
        return torch.cat([maps(block.to(device)).cpu() for block in blocks], dim=1).reshape(points.shape)

    return evaluate


def _inverse_errors(inverse: PointMap, grid: Grid, displaced: Tensor) -> dict[str, float]:
    """Return mean and maximum of the inverse error at the voxel centres of `grid`, displaced to points `(N, D)`."""
    errors = StreamingInverseError(inverse, stride=1)
    errors.add(grid.voxel_centres().double(), displaced, None)
    return {"inverse_error_mm": errors.mean, "inverse_error_max_mm": errors.maximum}


def _measure_files(
    pair: DatasetPair, index: DatasetIndex, grid: Grid, transform: PointMap, suffix: str
) -> dict[str, float]:
    """Return the Dice of labels and the error of landmarks for which the index names files; Dice on `grid`."""
    measures = {}
    label_files = [index.image(id).labels for id in (pair.fixed, pair.moving)]
    if label_files[0] is not None and label_files[1] is not None:
        fixed, moving = read_image(index.path(label_files[0])), read_image(index.path(label_files[1]))
        scores = dice(resample(fixed, grid, lambda points: points, "nearest"), moving, transform)
        measures[f"dice{suffix}"] = sum(scores.values()) / len(scores)
    if pair.landmarks is not None:
        errors = landmark_errors(transform, read_point_pairs(index.path(pair.landmarks)))
        measures[f"tre{suffix}_mm"] = float(errors.after.mean())
    return measures
