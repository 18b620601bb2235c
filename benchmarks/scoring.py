"""Score the displacement field of any tool with numpy and SimpleITK only.

    python benchmarks/scoring.py FIELD [--inverse FIELD] [--landmarks PAIRS.csv] [--still-landmarks PAIRS.csv]
                                 [--fixed-labels F --moving-labels M] [--mask MASK]

Fields are ITK displacement fields, LPS mm: FIELD on the fixed grid, u = moving point - fixed point; the inverse on the
moving grid. Prints JSON: TRE (mm), mean Dice, percentage of voxels with det J <= 0 and standard deviation of log det J
inside the mask (without a mask: in the whole grid), inverse consistency error (mm), and the error of every landmark.
Still landmarks lie in walls along which an organ slides; only their mean is given.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

PROBES = 20_000  # points at which the inverse is evaluated


def landmark_scores(transform: sitk.Transform, path: Path) -> dict[str, Any]:
    """Return the distances between mapped fixed landmarks and moving landmarks, mm, unrounded."""
    axes = "xyz"[: transform.GetDimension()]
    with path.open(encoding="utf-8", newline="") as handle:
        table = list(csv.DictReader(handle))
    fixed, moving = (
        np.array([[float(row[f"{side}_{a}"]) for a in axes] for row in table]) for side in ("fixed", "moving")
    )
    errors = np.linalg.norm(mapped(transform, fixed) - moving, axis=1)
    return {
        "tre_before_mm": np.linalg.norm(fixed - moving, axis=1).mean(),
        "tre_mean_mm": errors.mean(),
        "tre_median_mm": np.median(errors),
        "tre_p90_mm": np.quantile(errors, 0.9),
        "tre_max_mm": errors.max(),
        "errors_mm": [round(float(e), 4) for e in errors],
    }


def mapped(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """Map the points `(N, D)` by the transform."""
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def dice(transform: sitk.Transform, fixed_path: Path, moving_path: Path) -> float:
    """Compute the mean Dice of the labels in both maps, with the moving one warped by nearest neighbour."""
    fixed, moving = sitk.ReadImage(fixed_path), sitk.ReadImage(moving_path)
    pair = [
        sitk.GetArrayFromImage(image)
        for image in (fixed, sitk.Resample(moving, fixed, transform, sitk.sitkNearestNeighbor, 0))
    ]
    shared = np.intersect1d(np.unique(pair[0]), np.unique(sitk.GetArrayViewFromImage(moving)))
    scores = []
    for label in shared[shared != 0]:
        one, other = (image == label for image in pair)
        scores.append(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))
    return float(np.mean(scores))


def determinants(field: sitk.Image) -> np.ndarray:
    """Compute det J of `x -> x + u(x)` at every voxel, array order, by central differences (one-sided at the ends)."""
    dimension = field.GetDimension()
    vectors = sitk.GetArrayFromImage(field)
    steps = np.stack(
        [np.gradient(vectors, field.GetSpacing()[axis], axis=dimension - 1 - axis) for axis in range(dimension)],
        axis=-1,
    )
    directions = np.array(field.GetDirection()).reshape(dimension, dimension)
    jacobians = np.eye(dimension) + steps @ directions.T  # along voxel axes -> along x, y, z
    return np.linalg.det(jacobians)


def regularity(field: sitk.Image, inside: np.ndarray) -> dict[str, float]:
    """Compute the percentage of folded voxels and the standard deviation of log det J."""
    values = determinants(field)[inside]
    return {
        "folding_percent": 100 * float((values <= 0).mean()),
        "sd_log_jacobian": float(np.log(values.clip(1e-9)).std()),
    }


def inverse_error(transform: sitk.Transform, inverse: sitk.Image, grid: sitk.Image, inside: np.ndarray) -> float:
    """Compute the mean of |inverse(phi(x)) - x|, mm, over voxels x inside with phi(x) in the grid of the inverse."""
    voxels = np.argwhere(inside)[:, ::-1]
    indices = np.random.default_rng(0).choice(len(voxels), min(PROBES, len(voxels)), replace=False)
    points = np.array([grid.TransformIndexToPhysicalPoint(voxel) for voxel in voxels[indices].tolist()])
    mapped_points = mapped(transform, points)
    index = np.array([inverse.TransformPhysicalPointToContinuousIndex(point) for point in mapped_points.tolist()])
    known = ((index >= 0) & (index <= np.array(inverse.GetSize()) - 1)).all(axis=1)
    back = mapped(sitk.DisplacementFieldTransform(sitk.Image(inverse)), mapped_points[known])
    return float(np.linalg.norm(back - points[known], axis=1).mean())


def scores(args: argparse.Namespace) -> dict[str, Any]:
    """Compute all scores that the given files allow."""
    field = sitk.ReadImage(args.field, sitk.sitkVectorFloat64)
    transform = sitk.DisplacementFieldTransform(sitk.Image(field))
    inside = np.ones(field.GetSize()[::-1], bool)
    if args.mask:
        inside = sitk.GetArrayFromImage(sitk.ReadImage(args.mask)) > 0
    result: dict[str, Any] = regularity(field, inside)
    if args.landmarks:
        result |= landmark_scores(transform, args.landmarks)
    if args.still_landmarks:
        result["tre_still_mm"] = landmark_scores(transform, args.still_landmarks)["tre_mean_mm"]
    if args.fixed_labels:
        result["dice_mean"] = dice(transform, args.fixed_labels, args.moving_labels)
    if args.inverse:
        inverse = sitk.ReadImage(args.inverse, sitk.sitkVectorFloat64)
        result["inverse_error_mm"] = inverse_error(transform, inverse, field, inside)
    return result


def main() -> None:
    """Print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("field", type=Path)
    for option in ("--inverse", "--landmarks", "--still-landmarks", "--fixed-labels", "--moving-labels", "--mask"):
        parser.add_argument(option, type=Path)
    print(json.dumps(scores(parser.parse_args())))


if __name__ == "__main__":
    main()
