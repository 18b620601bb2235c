"""How well a system registers pairs that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.datasets import DatasetIndex, DatasetPair
from nephi.geometry import Grid, PointMap, determinant, interpolate_batch
from nephi.images import resample
from nephi.io import read_image, read_point_pairs
from nephi.losses import ncc
from nephi.metrics import dice, landmark_errors
from nephi.models import Seen, System, dense_jacobian, frame_grid
from nephi.training.cache import SeenImages
from nephi.transforms import AffineTransform

MEASURES = ("dice", "dice_before", "tre_mm", "tre_before_mm", "ncc", "ncc_before", "folds_percent")
POINTS = 200_000  # at which a field is evaluated at once
LARGER_IS_BETTER = {"dice": 1.0, "tre_mm": -1.0, "ncc": 1.0}  # by these a model is chosen, the first there is


@dataclass(frozen=True, eq=False)
class ValidatedPair:
    """A pair as the network sees it, `(1, *shape)` each, where its points go, and what was measured."""

    name: str
    fixed: Tensor
    moving: Tensor
    warped: Tensor
    moved: Tensor
    determinants: Tensor
    measures: dict[str, float]


def chosen_pairs(index: DatasetIndex, most: int) -> list[DatasetPair]:
    """Return the pairs of the split `val`, at most so many, spread over it; none where there is no such split."""
    if "val" not in index.splits:
        return []
    pairs = index.pairs("val")
    count = min(most, len(pairs))
    return [pairs[k * len(pairs) // count] for k in range(count)]


@torch.no_grad()
def validate_pair(system: System, pair: DatasetPair, seen: SeenImages, device: torch.device) -> ValidatedPair:
    """Measure what `system` predicts for a pair; `MEASURES` without labels or landmarks are left out.

    dice: mean over the labels that both images hold, on the grid of the frame, by nearest neighbour; tre_mm: mean
    distance of landmarks; ncc: Pearson's correlation of what the network sees; folds_percent: of the frame's inner
    voxels, with determinants of forward differences at 0 or below. `before` is without the deformation, only centres
    brought together. Raises `DataError` naming files that do not go together.
    """
    grid = frame_grid(seen.frame)
    fixed, moving = seen[pair.fixed], seen[pair.moving]
    phi = system(fixed.values[None].to(device), moving.values[None].to(device)).forward
    centres = grid.voxel_centres().reshape(1, -1, grid.dimension)
    moved = torch.cat([phi(part.to(device)).cpu() for part in centres.split(POINTS, dim=1)], dim=1)
    warped = interpolate_batch(moving.values[None], grid, moved).reshape(fixed.values.shape)
    displacement = (moved - centres).transpose(1, 2).reshape(1, grid.dimension, *grid.shape)
    inner = [n - 1 for n in grid.shape]
    determinants = determinant(dense_jacobian(displacement, grid)).reshape(1, *inner)
    measures = {
        "ncc": 1 - float(ncc(fixed.values.flatten(1), warped.flatten(1))),
        "ncc_before": 1 - float(ncc(fixed.values.flatten(1), moving.values.flatten(1))),
        "folds_percent": 100 * float((determinants <= 0).double().mean()),
    }
    phi_on = _between(phi, fixed, moving, device)
    nothing = _between(lambda points: points, fixed, moving, device)
    for name, transform in (("", phi_on), ("_before", nothing)):
        measures |= _of_files(pair, seen.index, grid, fixed.centre, transform, name)
    name = f"{pair.fixed}--{pair.moving}"
    return ValidatedPair(name, fixed.values, moving.values, warped, moved[0], determinants, measures)


def mean_measures(rows: Tensor) -> dict[str, float]:
    """Return the means over pairs of their `MEASURES` `(P, len(MEASURES))`, NaN where a pair has none."""
    means = zip(MEASURES, rows.nanmean(dim=0).tolist(), strict=True)
    return {name: value for name, value in means if value == value}


def row_of(measures: dict[str, float]) -> Tensor:
    """Return the measures of a pair as `mean_measures` takes them."""
    return torch.tensor([measures.get(name, torch.nan) for name in MEASURES], dtype=torch.float64)


def score(measures: dict[str, float]) -> tuple[str, float]:
    """Return the measure by which models are compared, and its value, the larger the better."""
    name = next(name for name in LARGER_IS_BETTER if name in measures)
    return name, LARGER_IS_BETTER[name] * measures[name]


def _between(phi: PointMap, fixed: Seen, moving: Seen, device: torch.device) -> PointMap:
    """Return `phi(x - c_fixed) + c_moving` for world points `(..., D)`."""

    def transform(points: Tensor) -> Tensor:
        near = (points.double() - fixed.centre).reshape(1, -1, points.shape[-1]).float()
        parts = [phi(part.to(device)).cpu() for part in near.split(POINTS, dim=1)]
        return torch.cat(parts, dim=1).double().reshape(points.shape) + moving.centre

    return transform


def _of_files(
    pair: DatasetPair, index: DatasetIndex, grid: Grid, centre: Tensor, transform: PointMap, suffix: str
) -> dict[str, float]:
    """Return Dice of labels and error of landmarks, where the index names both files, or the one."""
    found = {}
    labels = [index.image(id).labels for id in (pair.fixed, pair.moving)]
    if labels[0] is not None and labels[1] is not None:
        fixed, moving = read_image(index.path(labels[0])), read_image(index.path(labels[1]))
        there = grid.transformed(AffineTransform.translation(centre).matrix)
        shares = dice(resample(fixed, there, lambda points: points, "nearest"), moving, transform)
        found[f"dice{suffix}"] = sum(shares.values()) / len(shares)
    if pair.landmarks is not None:
        errors = landmark_errors(transform, read_point_pairs(index.path(pair.landmarks)))
        found[f"tre{suffix}_mm"] = float(errors.after.mean())
    return found
