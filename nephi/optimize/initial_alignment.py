"""Initial alignment of two images, and validation of their overlap."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from nephi.errors import DataError, PlausibilityWarning, UsageError, warn
from nephi.geometry import Grid
from nephi.images import Image, ImageSampler
from nephi.optimize.landmark_alignment import align_landmarks, require_landmarks
from nephi.preparation import Pair
from nephi.results import read_transform
from nephi.sampling import point_source
from nephi.settings import INITIALS, SEARCHED, GuidanceSettings
from nephi.transforms import AffineTransform, Transform, as_affine

DIFFERENT_UNITS = 50  # ratio of the longest sides above which the units in the headers must differ
LANDMARKS = "landmarks"  # no setting, because it needs the landmarks of a pair
LEAST_OVERLAP = 0.02  # fraction of the points
POINTS = 4000  # at which the overlap is measured


def initial_alignment(
    pair: Pair,
    initial: str | Transform,
    guidance: GuidanceSettings = GuidanceSettings(),  # noqa: B008 (frozen)
) -> AffineTransform:
    """Return the initial affine map: fixed points to moving points (world mm).

    `moments` aligns the centres of mass of the masks (without both masks, of the windowed intensities), `centers` the
    centres of the images, `landmarks` the guiding landmarks, of the accuracy in `guidance`, `none` is the identity: the
    position in the headers. An affine transform, or a composition of affine ones, is returned as one matrix. `auto` and
    `auto-mirrored` are not among these: see `search_start`.

    Raises `UsageError` for another name, a deformation, or a transform of another dimension than the images.
    """
    if not isinstance(initial, str):
        return _require_affine(pair, initial)
    if initial == LANDMARKS:
        return align_landmarks(require_landmarks(pair.guidance.landmarks), pair.landmark_accuracy(guidance))
    if initial not in INITIALS or initial in SEARCHED:
        known = ", ".join((*INITIALS, LANDMARKS))
        raise UsageError(f"initial: expected one of {known}, or an affine transform, got {initial!r}")
    if initial == "none":
        return AffineTransform.identity(pair.fixed.dimension)
    if initial == "centers":
        return AffineTransform.translation(pair.moving.grid.centre_world() - pair.fixed.grid.centre_world())
    if pair.fixed_mask is not None and pair.moving_mask is not None:
        masks = pair.fixed_mask, pair.moving_mask
        fixed, moving = (m.grid.voxel_to_world_points(m.foreground.centre) for m in masks)
    else:
        levels = pair.fixed_levels, pair.moving_levels
        fixed, moving = (_centre_of_mass(p.at(_longest_edge(p.image.grid) / 64)) for p in levels)
    return AffineTransform.translation(moving - fixed)


def read_initial(initial: str | Path | Transform | None) -> str | Transform | None:
    """Return the initial alignment; that of a file of a transform is read, which is not the name of a method.

    Raises `DataError` for a file that is no transform.
    """
    if isinstance(initial, str):
        named = initial in (*INITIALS, LANDMARKS)
        return initial if named or not (Path(initial).suffix or Path(initial).exists()) else read_transform(initial)
    return read_transform(initial) if isinstance(initial, PathLike) else initial


def _require_affine(pair: Pair, transform: Transform) -> AffineTransform:
    affine = as_affine(transform)
    if affine is None:
        raise UsageError("initial: expected an affine transform, or a composition of affine ones, got a deformation")
    if affine.dimension != pair.fixed.dimension:
        expected = f"{pair.fixed.dimension}-D transform, the dimension of the images"
        raise UsageError(f"initial: expected a {expected}, got {affine.dimension}-D")
    return affine


def require_overlap(pair: Pair, transform: AffineTransform, generator: torch.Generator) -> float:
    """Return the fraction of the fixed points (in the mask) that `transform` maps into the moving image.

    Raises `DataError` if it is below 2 %, and the same holds for the moving points in the fixed image: a small moving
    image may lie inside a large fixed one. Issues a `PlausibilityWarning` if the sizes of the images differ extremely.
    """
    check_lengths(pair)
    points = transform(point_source(pair.fixed, pair.fixed_mask).draw(POINTS, generator))
    fraction = float(ImageSampler(pair.moving).contains(points).float().mean())
    if fraction >= LEAST_OVERLAP:
        return fraction
    points = transform.inverse()(point_source(pair.moving, pair.moving_mask).draw(POINTS, generator))
    moving_fraction = float(ImageSampler(pair.fixed).contains(points).float().mean())
    if moving_fraction < LEAST_OVERLAP:
        raise DataError(
            f"{pair.fixed.name} and {pair.moving.name}: expected images that overlap after the alignment, found "
            f"{100 * fraction:.1f} % of the fixed points inside the moving image, and {100 * moving_fraction:.1f} % of "
            "the moving points inside the fixed image; try another --initial"
        )
    return fraction


def check_lengths(pair: Pair) -> None:
    """Issue a `PlausibilityWarning` if the sizes of the images differ so much that their units must differ."""
    lengths = [_longest_edge(grid) for grid in (pair.fixed.grid, pair.moving.grid)]
    if max(lengths) > DIFFERENT_UNITS * min(lengths):
        fixed, moving = (f"{length:.3g}" for length in lengths)
        problem = f"expected images of similar size, found {fixed} and {moving} mm along their longest sides"
        warn(
            f"{pair.fixed.name} and {pair.moving.name}: {problem}; check the voxel sizes and their unit in the headers",
            PlausibilityWarning,
        )


def _centre_of_mass(image: Image) -> Tensor:
    axes = range(image.dimension)
    profiles = [image.data.double().sum(dim=[b for b in axes if b != axis]) for axis in axes]
    centre = torch.stack([(p * torch.arange(len(p)).to(p)).sum() / p.sum() for p in profiles])
    return image.grid.voxel_to_world_points(centre.cpu())


def _longest_edge(grid: Grid) -> float:
    return float((grid.spacing * torch.tensor(grid.shape, dtype=torch.int64)).max())
