"""Whether a mask lies on its image's grid, and if not, why, and what to do about it."""

from __future__ import annotations

import math
import shlex

import torch
from torch import Tensor

from nephi.errors import DataError, PlausibilityWarning, warn
from nephi.geometry import Grid
from nephi.images import Image

TOLERANCE = 0.05  # voxels at every corner: rounded headers, far below what a mask is drawn to
LEAST_INSIDE = 0.5  # of a mask's voxels above 0 that have to lie inside its image to be resampled without a doubt
SAMPLE = 100_000  # voxels of a mask whose places stand for all of them
DIGITS = range(1, 13)  # decimals in which two headers are told apart


def require_placement(mask: Image, image: Image, other: Image) -> None:
    """Raise `DataError` for a mask on another grid than its image's; the text gives the cause and what to do.

    A header that differs by less than `TOLERANCE` voxels at every corner is taken as the same.
    """
    if mask.grid.same_as(image.grid, TOLERANCE):
        return
    if mask.dimension != image.dimension:
        problem = f"expected a mask on the grid of {image.name}, found a {mask.dimension}-D one"
        raise DataError(f"{mask.name}: {problem}; give a {image.dimension}-D one")
    found, expected = _grid_texts(mask.grid, image.grid)
    gap = _gap(mask.grid, image.grid)
    raise DataError(
        f"{mask.name}: expected a mask on the grid of {image.name} ({expected}), found {found}{gap}; "
        f"{_advice(mask, image, other)}"
    )


def require_mask_inside(mask: Image, image: Image) -> None:
    """Raise `DataError` for a mask on a grid of its own that lost its header or lies beside its image.

    Issues a `PlausibilityWarning` when less than half of it lies inside the image.
    """
    inside = _share_inside(mask, image.grid)
    if inside == 0 or (mask.grid.shape == image.grid.shape and has_no_header(mask.grid)):
        require_placement(mask, image, image)
    elif inside < LEAST_INSIDE:
        problem = f"only {100 * inside:.0f} % of its voxels above 0 lie inside {image.name}"
        warn(f"{mask.name}: {problem}; check that both belong together", PlausibilityWarning)


def _advice(mask: Image, image: Image, other: Image) -> str:
    if mask.grid.same_as(other.grid, TOLERANCE):
        return f"it lies on that of {other.name}: have the two masks changed places?"
    inside = _share_inside(mask, image.grid)
    covered = f"{100 * inside:.0f} % of its voxels above 0 lie inside the image"
    resample = f"resample it by `{_command(mask, image, '')}`"
    lost = has_no_header(mask.grid)
    if mask.grid.shape == image.grid.shape:
        copy = f"copy the image's header by `{_command(mask, image, f'--header-from {shlex.quote(image.name)} ')}`"
        if lost:
            return f"its header was lost; {copy}"
        if inside < LEAST_INSIDE:
            return f"{covered}: its header was lost, or is that of another image; if its voxels are right, {copy}"
        return f"if its header was lost or changed, {copy}; if its header is right, {resample}"
    if lost and sorted(mask.grid.shape) == sorted(image.grid.shape):
        return "its header was lost and its axes are in another order; save it again with axes and header of the image"
    if inside == 0:
        return "none of its voxels above 0 lies inside the image; is it the mask of another image?"
    if inside < LEAST_INSIDE:
        return f"only {covered}: check that it belongs to the image; if its header is right, {resample}"
    return resample


def has_no_header(grid: Grid) -> bool:
    """Return whether a grid is placed as tools do it where they have no header: axis by axis, from 0 or about 0."""
    directions = grid.direction.abs()
    along_axes = bool(torch.allclose(directions, torch.eye(grid.dimension, dtype=torch.float64), rtol=0, atol=1e-6))
    voxel = float(grid.spacing.max())
    at_zero = float(grid.origin.abs().max()) < 1e-3 * voxel
    about_zero = float(grid.centre_world().abs().max()) < 0.51 * voxel
    return along_axes and (at_zero or about_zero)


def _share_inside(mask: Image, grid: Grid) -> float:
    """Return which share of a mask's voxels above 0 have their centres inside `grid`."""
    box = mask.foreground
    size = [high - low for low, high in zip(box.low, box.high, strict=True)]
    step = max(1, round((math.prod(size) / SAMPLE) ** (1 / mask.dimension)))
    part = mask.data[tuple(slice(low, high, step) for low, high in zip(box.low, box.high, strict=True))]
    voxels: Tensor = (part > 0).nonzero() * step + torch.tensor(box.low, dtype=torch.int64)
    if len(voxels) == 0:
        voxels = box.centre[None]
    points = grid.world_to_voxel_points(mask.grid.voxel_to_world_points(voxels))
    return float(grid.contains_voxel_points(points).double().mean())


def _gap(one: Grid, other: Grid) -> str:
    """Return in words how far the voxels of two grids of one shape lie apart, empty for others."""
    if one.shape != other.shape:
        return ""
    return f", up to {float((one.corners_world() - other.corners_world()).norm(dim=1).max()):.3g} mm away"


def _command(mask: Image, image: Image, options: str) -> str:
    given = f"-i {shlex.quote(mask.name)} -r {shlex.quote(image.name)}"
    return f"nephi apply -t identity {given} {options}--interpolation label -o MASK"


def _grid_texts(one: Grid, other: Grid) -> tuple[str, str]:
    """Return both grids in words, with as many digits as it takes to see the difference."""
    with_axes = not torch.allclose(one.direction, other.direction, rtol=0, atol=1e-4)
    texts = ("", "")
    for digits in DIGITS:
        texts = _grid_text(one, digits, with_axes), _grid_text(other, digits, with_axes)
        if texts[0] != texts[1]:
            break
    return texts


def _grid_text(grid: Grid, digits: int, with_axes: bool) -> str:
    size = "x".join(map(str, grid.shape))
    spacing = " x ".join(f"{s:.{digits + 3}g}" for s in grid.spacing.tolist())
    origin = ", ".join(f"{o:.{digits}f}" for o in grid.origin.tolist())
    columns = [", ".join(f"{v:.{digits + 1}g}" for v in column) for column in grid.direction.T.tolist()]
    axes = f", axes along ({'), ('.join(columns)})" if with_axes else ""
    return f"{size} voxels of {spacing} mm from ({origin}){axes}"
