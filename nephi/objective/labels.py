"""The overlap of the labels of both images at random points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nephi import losses
from nephi.geometry import Grid, interpolate_labels, interpolate_nearest


@dataclass(frozen=True)
class ComparedLabels:
    """Label maps `(B, *shape)`, whole numbers, of B pairs on `grid`; `labels` are those that are compared, by pair."""

    fixed: Tensor
    moving: Tensor
    labels: Sequence[Tensor]
    grid: Grid

    def exchanged(self) -> ComparedLabels:
        """Return the label maps with fixed and moving exchanged."""
        return ComparedLabels(self.moving, self.fixed, self.labels, self.grid)


def choose_labels(
    fixed: Tensor, moving: Tensor, points: tuple[Tensor, Tensor], grid: Grid, count: int, generator: torch.Generator
) -> Tensor:
    """Return at most `count` labels, chosen at random, that both images of a pair contain at some of its points.

    Label maps are `(*shape)`; `points` `(N, D)`, world mm, are those of the fixed and of the moving image. 0, the
    background, is no label. The choice depends on the generator only, and takes one permutation from it.
    """
    voxels = [grid.world_to_voxel_points(each) for each in points]
    present = [interpolate_nearest(data, each).unique() for data, each in zip((fixed, moving), voxels, strict=True)]
    common = present[0][torch.isin(present[0], present[1]) & (present[0] != 0)]
    order = torch.randperm(len(common), generator=generator)[:count]
    return common[order.to(common.device)]


def label_dissimilarity(mapped: Tensor, centres: Tensor, labels: ComparedLabels) -> Tensor:
    """Return the mean over the pairs of the soft Dice loss of points and the points they are mapped to.

    `centres` `(B, N, D)` are points of the fixed images, `mapped` those of the moving images, world mm. A point belongs
    to a label as far as the linear interpolation of the label's indicator does; beyond the grid to no label. A pair
    without a label in common counts 0.
    """
    values = []
    for pair, chosen in enumerate(labels.labels):
        fixed = _memberships(labels.fixed[pair], centres[pair], chosen, labels.grid)
        moving = _memberships(labels.moving[pair], mapped[pair], chosen, labels.grid)
        values.append(losses.soft_dice(fixed, moving))
    return torch.stack(values).mean()


def _memberships(data: Tensor, points: Tensor, labels: Tensor, grid: Grid) -> Tensor:
    """Return `(N, L)`: how far each point belongs to each label, from 0 to 1."""
    voxels = grid.world_to_voxel_points(points)
    inside = grid.contains_voxel_points(voxels.detach()).unsqueeze(-1)
    return interpolate_labels(data, voxels, labels) * inside
