"""Terms of the loss that do not come from the images: landmarks and labels that guide a fit.

A guide knows maps only as functions of points. A fit adds its term to those of `loss_terms`, whichever way these are
computed, and the affine step to its own loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from nephi import losses
from nephi.fields import ComposedFieldPair, FieldPair
from nephi.geometry import Grid, PointMap, interpolate_labels
from nephi.objective.objective import fitted_maps
from nephi.sampling import LabelBoundaries
from nephi.settings import GuidanceSettings


class Guide(Protocol):
    """A term of the loss of one pair of maps."""

    @property
    def name(self) -> str:
        """The name of the term in the history of a fit."""

    def at_level(self, spacing: float) -> Guide:
        """Return the guide for a level that compares samples `spacing` mm apart."""

    def __call__(self, forward: PointMap, inverse: PointMap | None, generator: torch.Generator) -> Tensor:
        """Return the weighted term, a scalar: the mean over `forward`, fixed to moving points, and its `inverse`.

        The maps take points `(1, N, D)`, world mm; `inverse` is None for maps without one.
        """


@dataclass(frozen=True, eq=False)
class LandmarkGuide:
    """Corresponding points `(N, D)`, float32, world mm, that pull a map: the mean of a robust distance, mm.

    The distance is that of Geman and McClure, beyond the `accuracy` of the points, mm: closer points are not pulled,
    since their errors would deform the map. Its scale follows the median of the distances at each step, so that pairs
    which all others contradict lose their pull as the others come closer; it is at least the accuracy.
    """

    fixed: Tensor
    moving: Tensor
    weight: float
    accuracy: float
    name: str = "guide_landmarks"

    def at_level(self, spacing: float) -> LandmarkGuide:
        """Return the guide itself: points are as accurate at each level."""
        return self

    def __call__(self, forward: PointMap, inverse: PointMap | None, generator: torch.Generator) -> Tensor:
        """Return the weighted mean over the pairs of points and the directions."""
        distances = [self._distance(forward, self.fixed, self.moving)]
        if inverse is not None:
            distances.append(self._distance(inverse, self.moving, self.fixed))
        return self.weight * torch.stack(distances).mean()

    def _distance(self, mapping: PointMap, source: Tensor, target: Tensor) -> Tensor:
        squares = (mapping(source[None])[0] - target).square().sum(dim=-1)
        excess = losses.squared_excess(squares, self.accuracy)
        return losses.geman_mcclure(excess, losses.robust_scale(excess, self.accuracy)).mean()


@dataclass(frozen=True, eq=False)
class LabelGuide:
    """Labels of both images that pull a map: the soft Dice loss of some of them, new ones at each step.

    `fixed` and `moving` contain the same labels. Each label is compared at its own points, around its boundary in the
    image that is mapped. A point belongs to it as far as the samples of a cube around it do, of which `spacing`, mm, is
    half the edge: coarse levels attract labels that do not overlap yet.
    """

    fixed: LabelBoundaries
    moving: LabelBoundaries
    settings: GuidanceSettings
    spacing: float = 1.0
    name: str = "guide_labels"

    def at_level(self, spacing: float) -> LabelGuide:
        """Return the guide whose labels are as blurred as the level's patches are wide."""
        return replace(self, spacing=spacing)

    def __call__(self, forward: PointMap, inverse: PointMap | None, generator: torch.Generator) -> Tensor:
        """Return the weighted mean over the labels of the step and the directions."""
        rows = torch.randperm(len(self.fixed.labels), generator=generator)[: self.settings.labels_per_step]
        overlaps = [self._dissimilarity(forward, self.fixed, self.moving, rows, generator)]
        if inverse is not None:
            overlaps.append(self._dissimilarity(inverse, self.moving, self.fixed, rows, generator))
        return self.settings.labels * torch.stack(overlaps).mean()

    def _dissimilarity(
        self,
        mapping: PointMap,
        source: LabelBoundaries,
        target: LabelBoundaries,
        rows: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        device, count = source.image.data.device, self.settings.points_per_label
        points = source.draw(rows, count, self.spacing, generator).to(device)
        mapped = mapping(points.flatten(0, 1)[None])[0].view_as(points)
        labels = source.labels[rows].to(device)
        memberships = [
            self._memberships(side.image.data, side.image.grid, each, labels)
            for side, each in ((source, points), (target, mapped))
        ]
        return losses.soft_dice(memberships[0].T, memberships[1].T)

    def _memberships(self, data: Tensor, grid: Grid, points: Tensor, labels: Tensor) -> Tensor:
        """Return how far points `(L, N, D)` belong to their labels `(L,)`, from 0 to 1: `(L, N)`.

        The cube around a point is not deformed: its samples only blur the labels.
        """
        steps = torch.tensor([-0.5, 0.5], dtype=torch.float32, device=data.device) * self.spacing
        offsets = torch.cartesian_prod(*[steps] * points.shape[-1]).reshape(-1, points.shape[-1])
        voxels = grid.world_to_voxel_points(points.unsqueeze(2) + offsets)
        inside = grid.contains_voxel_points(voxels.detach())
        belongs = interpolate_labels(data, voxels, labels.to(data.dtype)[:, None, None, None]).squeeze(-1)
        return (belongs * inside).mean(dim=-1)


def guide_terms(
    guides: Sequence[Guide], forward: PointMap, inverse: PointMap | None, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the weighted terms of all guides by their names."""
    return {guide.name: guide(forward, inverse, generator) for guide in guides}


def add_guide_gradient(
    fields: FieldPair | ComposedFieldPair, guides: Sequence[Guide], generator: torch.Generator
) -> dict[str, Tensor]:
    """Add the gradient of the guides' terms to the `.grad` of the fields' parameters; return the weighted terms."""
    if not guides:
        return {}
    maps = fitted_maps(fields)
    terms = guide_terms(guides, maps.forward, maps.inverse, generator)
    with fields.gradients_in_place():
        torch.stack(list(terms.values())).sum().backward()
    return {name: term.detach() for name, term in terms.items()}
