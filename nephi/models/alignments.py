"""The maps that keypoints allow, by name: rigid, similarity, affine, half-way affine, and splines of any smoothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.networks.keypoints import Keypoints
from nephi.tables import short_repr
from nephi.transforms import (
    AffineMaps,
    MapPair,
    Maps,
    affine_fit,
    halfway_affine_fit,
    rigid_fit,
    similarity_fit,
    spline_fit,
)
from nephi.transforms.spline import SOFTENING

FITS: Mapping[str, Callable[[Tensor, Tensor, Tensor | None], AffineMaps]] = {
    "rigid": rigid_fit,
    "similarity": similarity_fit,
    "affine": affine_fit,
    "halfway": halfway_affine_fit,
}
SPLINE = "tps:"
ASYMMETRY_POINTS = 10_000
WEIGHTINGS = ("power", "equal")


def check_alignments(name: str, alignments: Sequence[str]) -> None:
    """Raise `UsageError` unless all `alignments` are known; `name` is that of the setting or option.

    Known are `rigid`, `similarity`, `affine`, `halfway` (a symmetric affine map), and `tps:` followed by a number of 0
    or more: a thin-plate spline of that smoothing lambda, in KeyMorph's unit, half the box's longest edge.
    """
    for alignment in alignments:
        if alignment not in FITS and not smoothing_of(alignment) >= 0:
            raise UsageError(
                f"{name}: expected {', '.join(FITS)}, or {SPLINE} and a number of 0 or more ({SPLINE}0.1), got "
                f"{short_repr(alignment)}"
            )


def smoothing_of(alignment: str) -> float:
    """Return the smoothing in the name of a spline; NaN for any other name."""
    try:
        value = float(alignment.removeprefix(SPLINE)) if alignment.startswith(SPLINE) else math.nan
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def keypoint_maps(
    alignment: str,
    fixed: Keypoints,
    moving: Keypoints,
    weights: Tensor | None,
    grid: Grid,
    softening: float = SOFTENING,
) -> MapPair:
    """Return the maps of an alignment from fixed to moving keypoints in the box of `grid`, and their inverses.

    `weights` are `(B, K)`, None for equal ones. The inverses of affine maps are exact. Those of splines are the splines
    of the other direction: an approximation, and the start of Newton's method, which solves for the true inverse.
    `softening` is that of `spline_fit`.

    Raises `UsageError` for an unknown alignment.
    """
    check_alignments("align", [alignment])
    if alignment in FITS:
        maps = FITS[alignment](fixed.points, moving.points, weights)
        return MapPair(maps, maps.inverse())
    return keypoint_splines(smoothing_of(alignment), fixed, moving, weights, grid, softening)


def keypoint_splines(
    smoothing: Tensor | float,
    fixed: Keypoints,
    moving: Keypoints,
    weights: Tensor | None,
    grid: Grid,
    softening: float = SOFTENING,
) -> MapPair:
    """Return the splines of both directions, as `keypoint_maps`; `smoothing` is one number, or `(B,)`."""
    length = half_edge(grid)
    return MapPair(
        spline_fit(fixed.points, moving.points, smoothing, length, weights, softening),
        spline_fit(moving.points, fixed.points, smoothing, length, weights, softening),
    )


def pair_weights(weighting: str, fixed: Keypoints, moving: Keypoints) -> Tensor | None:
    """Return the weights `(B, K)` of pairs of keypoints, of any scale; None for equal ones.

    `power`: the products of both images' weights, as in BrainMorph; `equal`: equal.
    """
    return fixed.weights * moving.weights if weighting == "power" else None


@torch.no_grad()
def asymmetry(forward: Maps, exchanged: Maps, grid: Grid, axes: Tensor | None = None) -> Tensor:
    """Measure how far maps of pairs depend on the order of the images: `(B,)`, mm.

    The mean of `|psi(phi(x)) - x|` over voxel centres x of `grid`, at most about 10,000, where phi are the maps
    `forward` of the pairs and psi those of the exchanged images. 0, up to rounding, for rigid, similarity and half-way
    maps, and for others that match every keypoint. With `axes` `(D, D)`, the matrix from the model's box to the fixed
    image's world, lengths are those of that world.
    """
    stride = max(1, round((grid.size / ASYMMETRY_POINTS) ** (1 / grid.dimension)))
    centres = grid.voxel_centres()[(slice(None, None, stride),) * grid.dimension].reshape(-1, grid.dimension).double()
    points = centres.expand(len(forward), -1, -1)
    vectors = (exchanged(forward(points)) - points).cpu()
    return (vectors if axes is None else vectors @ axes.T.to(vectors)).norm(dim=-1).mean(dim=1)


def half_edge(grid: Grid) -> float:
    """Return half the longest edge of the box between the outermost voxel centres, mm: the unit of KeyMorph's lambda.

    KeyMorph's coordinates are -1 and 1 there, in boxes that are mostly cubes.
    """
    return max((n - 1) * spacing for n, spacing in zip(grid.shape, grid.spacing.tolist(), strict=True)) / 2
