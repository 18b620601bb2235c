"""How far a model follows shifts and turns of its images, measured in mm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.metrics import equivariance_error
from nephi.models import RegistrationModel, random_rotations, warp_images
from nephi.transforms import AffineMaps

SHIFT = 1 / 8  # of the edges


@torch.no_grad()
def equivariance_errors(
    model: RegistrationModel[Any],
    fixed: Tensor,
    moving: Tensor,
    generator: torch.Generator,
    *,
    shift: float = SHIFT,
    stride: int = 4,
    rotation: float = 0.0,
    points: int = 1000,
) -> dict[str, float]:
    """Return the mean distance, mm, between predictions for warped images and the warped predictions.

    `fixed` and `moving` are model inputs `(B, 1, *shape)`, `model.outside` beyond their border. Keys:
    `equivariance_uu_mm` for a random map U of both images of a pair, `equivariance_wu_mm` for a map of each; see
    `nephi.metrics.equivariance_error`.

    shift: the largest shift along each axis, as a fraction of the edge, at least one stride if above 0. Shifts are
        multiples of `stride` voxels; without rotations voxels are copied, not interpolated.
    rotation: the largest angle of turns about the centre of the box, degrees; images are interpolated then.
    points: number of random points of each pair.
    """
    was_training, grid = model.training, model.grid
    model.eval()
    try:
        prediction = model(fixed, moving).forward
        unit = torch.rand(len(fixed), points, grid.dimension, generator=generator, dtype=torch.float64)
        last = torch.tensor(grid.shape, dtype=torch.float64) - 1
        positions = grid.voxel_to_world_points(unit * last).to(fixed)
        warps = [_RandomWarp(grid, len(fixed), shift, stride, rotation, generator) for _ in range(2)]
        errors = {}
        for name, w, u in (("uu", warps[1], warps[1]), ("wu", warps[0], warps[1])):
            warped = model(u.images(fixed, model.outside), w.images(moving, model.outside)).forward
            each = equivariance_error(prediction, warped, w.maps.to(fixed), u.maps.to(fixed), positions, grid)
            errors[f"equivariance_{name}_mm"] = float(each.nanmean())
        return errors
    finally:
        model.train(was_training)


class _RandomWarp:
    """A random map for each of B pairs: a rotation about the centre of the box, then a shift by whole voxels."""

    def __init__(
        self, grid: Grid, pairs: int, shift: float, stride: int, rotation: float, generator: torch.Generator
    ) -> None:
        self.grid = grid
        self.shifts = torch.stack([_random_shift(grid, shift, stride, generator) for _ in range(pairs)])
        turns = random_rotations(grid, rotation, [generator] * pairs)
        self.is_shift = not rotation
        self.maps = AffineMaps(turns.matrices, turns.translations + grid.voxel_to_world_vectors(self.shifts.double()))

    def images(self, images: Tensor, outside: float) -> Tensor:
        """Return `image(map(x))` for images `(B, 1, *shape)` on the grid, which are `outside` beyond it."""
        if not self.is_shift:
            return warp_images(images, self.grid, self.maps, outside)
        pairs = zip(images, self.shifts.tolist(), strict=True)
        return torch.stack([_shifted(image, shift, outside) for image, shift in pairs])


def _random_shift(grid: Grid, shift: float, stride: int, generator: torch.Generator) -> Tensor:
    """Draw a shift `(D,)` in voxels, int64: up to one stride at least, on axes that are long enough."""
    most = [max(int(shift * (n - 1)) // stride, int(shift > 0 and n > 2 * stride)) for n in grid.shape]
    return torch.stack([stride * torch.randint(-k, k + 1, (), generator=generator) for k in most])


def _shifted(image: Tensor, voxels: Sequence[int], outside: float) -> Tensor:
    """Return `image(x + voxels)` of an image `(1, *shape)` that is `outside` beyond its border."""
    for axis, (n, step) in enumerate(zip(image.shape[1:], voxels, strict=True), start=1):
        kept = image.narrow(axis, max(step, 0), n - abs(step))
        shape = list(image.shape)
        shape[axis] = abs(step)
        beyond = image.new_full(shape, outside)
        image = torch.cat([kept, beyond] if step > 0 else [beyond, kept], dim=axis)
    return image
