"""Validation of a mask's grid, with the likely cause and the remedy where it is not that of the image."""

from __future__ import annotations

import math
import shlex

import torch
from torch import Tensor

from nephi.errors import DataError, PlausibilityWarning, warn
from nephi.geometry import Grid
from nephi.images import Image

TOLERANCE = 0.05  # voxels at every corner: more than rounded headers, less than the accuracy of masks
LEAST_INSIDE = 0.5  # fraction of a mask's voxels above 0 inside the image; below it both may not belong together
SAMPLE = 100_000  # voxels of a mask at which its overlap with the image is measured
DIGITS = range(1, 13)  # decimals to try until two headers look different


def require_placement(mask: Image, image: Image, other: Image) -> None:
    """Raise `DataError` for a mask on another grid than its image; the message names the likely cause and the remedy.

    Headers that differ by less than `TOLERANCE` voxels at every corner count as equal. `other` is the other image of
    the pair, for the case that the two masks were exchanged.
    """
    if mask.grid.same_as(image.grid, TOLERANCE):
        return
    if mask.dimension != image.dimension:
        problem = f"expected a mask on the grid of {image.name}, found a {mask.dimension}-D one"
        raise DataError(f"{mask.name}: {problem}; give a {image.dimension}-D one")
    found, expected = _describe_grids(mask.grid, image.grid)
    distance = _describe_distance(mask.grid, image.grid)
    raise DataError(
        f"{mask.name}: expected a mask on the grid of {image.name} ({expected}), found {found}{distance}; "
        f"{_suggest_remedy(mask, image, other)}"
    )


def require_mask_inside(mask: Image, image: Image) -> None:
    """Raise `DataError` for a mask that lost its header or lies outside the image; its grid may differ otherwise.

    Issues a `PlausibilityWarning` if less than half of it lies inside the image.
    """
    inside = _fraction_inside(mask, image.grid)
    if inside == 0 or (mask.grid.shape == image.grid.shape and has_no_header(mask.grid)):
        require_placement(mask, image, image)
    elif inside < LEAST_INSIDE:
        problem = f"only {100 * inside:.0f} % of its voxels above 0 lie inside {image.name}"
        warn(f"{mask.name}: {problem}; check that both belong together", PlausibilityWarning)


def _suggest_remedy(mask: Image, image: Image, other: Image) -> str:
    if mask.grid.same_as(other.grid, TOLERANCE):
        return f"it has the grid of {other.name}: were the two masks exchanged?"
    inside = _fraction_inside(mask, image.grid)
    overlap = f"{100 * inside:.0f} % of its voxels above 0 lie inside the image"
    resample = f"resample it by `{_apply_command(mask, image, '')}`"
    header_lost = has_no_header(mask.grid)
    if mask.grid.shape == image.grid.shape:
        copy = (
            f"copy the image's header by `{_apply_command(mask, image, f'--header-from {shlex.quote(image.name)} ')}`"
        )
        if header_lost:
            return f"its header was lost; {copy}"
        if inside < LEAST_INSIDE:
            return f"{overlap}: its header was lost, or belongs to another image; if its voxels are right, {copy}"
        return f"if its header was lost or changed, {copy}; if its header is right, {resample}"
    if header_lost and sorted(mask.grid.shape) == sorted(image.grid.shape):
        return "its header was lost and its axes are permuted; save it again with the axes and the header of the image"
    if inside == 0:
        return "none of its voxels above 0 lies inside the image; is it the mask of another image?"
    if inside < LEAST_INSIDE:
        return f"only {overlap}: check that it belongs to the image; if its header is right, {resample}"
    return resample


def has_no_header(grid: Grid) -> bool:
    """Return whether a grid is the default of tools without a header: axis-aligned, starting at 0 or centred on 0."""
    directions = grid.direction.abs()
    axis_aligned = bool(torch.allclose(directions, torch.eye(grid.dimension, dtype=torch.float64), rtol=0, atol=1e-6))
    voxel = float(grid.spacing.max())
    starts_at_zero = float(grid.origin.abs().max()) < 1e-3 * voxel
    centred_at_zero = float(grid.centre_world().abs().max()) < 0.51 * voxel
    return axis_aligned and (starts_at_zero or centred_at_zero)


def _fraction_inside(mask: Image, grid: Grid) -> float:
    """Return the fraction of a mask's voxels above 0 whose centres lie inside `grid`."""
    box = mask.foreground
    size = [high - low for low, high in zip(box.low, box.high, strict=True)]
    step = max(1, round((math.prod(size) / SAMPLE) ** (1 / mask.dimension)))
    part = mask.data[tuple(slice(low, high, step) for low, high in zip(box.low, box.high, strict=True))]
    voxels: Tensor = (part > 0).nonzero() * step + torch.tensor(box.low, dtype=torch.int64)
    if len(voxels) == 0:
        voxels = box.centre[None]
    points = grid.world_to_voxel_points(mask.grid.voxel_to_world_points(voxels))
    return float(grid.contains_voxel_points(points).double().mean())


def _describe_distance(one: Grid, other: Grid) -> str:
    """Describe the largest distance between the voxels of two grids of the same shape; empty for different shapes."""
    if one.shape != other.shape:
        return ""
    return f", up to {float((one.corners_world() - other.corners_world()).norm(dim=1).max()):.3g} mm away"


def _apply_command(mask: Image, image: Image, options: str) -> str:
    files = f"-i {shlex.quote(mask.name)} -r {shlex.quote(image.name)}"
    return f"nephi apply -t identity {files} {options}--interpolation label -o MASK"


def _describe_grids(one: Grid, other: Grid) -> tuple[str, str]:
    """Describe both grids, with as many decimals as are needed to show their difference."""
    with_axes = not torch.allclose(one.direction, other.direction, rtol=0, atol=1e-4)
    texts = ("", "")
    for digits in DIGITS:
        texts = _describe_grid(one, digits, with_axes), _describe_grid(other, digits, with_axes)
        if texts[0] != texts[1]:
            break
    return texts


def _describe_grid(grid: Grid, digits: int, with_axes: bool) -> str:
    size = "x".join(map(str, grid.shape))
    spacing = " x ".join(f"{s:.{digits + 3}g}" for s in grid.spacing.tolist())
    origin = ", ".join(f"{o:.{digits}f}" for o in grid.origin.tolist())
    columns = [", ".join(f"{v:.{digits + 1}g}" for v in column) for column in grid.direction.T.tolist()]
    axes = f", axes along ({'), ('.join(columns)})" if with_axes else ""
    return f"{size} voxels of {spacing} mm from ({origin}){axes}"
