"""Pairs of which one image shows only a part of the organ."""

from __future__ import annotations

from dataclasses import replace

import torch

from nephi.errors import UsageError
from nephi.geometry import Grid, PointPairs
from nephi.images import Image
from nephi.phantoms.pair import PhantomPair

SIDES = ("low", "high")


def half_field_of_view(pair: PhantomPair, part: str = "moving", axis: int = 0, side: str = "low") -> PhantomPair:
    """Return a pair whose `part` (`fixed` or `moving`) is cut off along a voxel axis where its mask is halved.

    `side` is the side of the plane that stays: `low` or `high` indices. The plane divides the mask into two halves of
    the same number of voxels, to one slice. Landmarks are those inside both images.

    Raises `UsageError` for another part, axis or side.
    """
    if part not in ("fixed", "moving"):
        raise UsageError(f"part: expected fixed or moving, got {part!r}")
    mask: Image = getattr(pair, f"{part}_mask")
    if not 0 <= axis < mask.dimension:
        raise UsageError(f"axis: expected 0 to {mask.dimension - 1}, got {axis}")
    if side not in SIDES:
        raise UsageError(f"side: expected {' or '.join(SIDES)}, got {side!r}")
    counts = (mask.data > 0).sum(dim=[a for a in range(mask.dimension) if a != axis]).cumsum(0)
    plane = int((2 * counts < counts[-1]).sum()) + 1
    start, stop = (0, plane) if side == "low" else (plane, mask.grid.shape[axis])
    image, mask = (_cropped(whole, axis, start, stop) for whole in (getattr(pair, part), mask))
    kept = image.grid
    points = getattr(pair.landmarks, part).coordinates
    inside = kept.contains_voxel_points(kept.world_to_voxel_points(points))
    fixed, moving = (p.coordinates[inside] for p in (pair.landmarks.fixed, pair.landmarks.moving))
    landmarks = PointPairs.from_coordinates(fixed, moving)
    if part == "fixed":
        return replace(pair, fixed=image, fixed_mask=mask, landmarks=landmarks)
    return replace(pair, moving=image, moving_mask=mask, landmarks=landmarks)


def _cropped(image: Image, axis: int, start: int, stop: int) -> Image:
    """Return the voxels `start` to `stop` (excluded) along an axis, at the same place."""
    first = torch.zeros(image.dimension, dtype=torch.float64)
    first[axis] = start
    affine = image.grid.affine.clone()
    affine[:-1, -1] = image.grid.voxel_to_world_points(first)
    data = image.data.narrow(axis, start, stop - start).contiguous()
    return Image(data, Grid(tuple(data.shape), affine), name=image.name)
