"""The training losses, sampled off the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nephi.geometry import Grid, PointMap, interpolate_batch
from nephi.images import Image
from nephi.losses import gradicon, similarity
from nephi.sampling import GridPoints, MaskPoints, PointSource, patch_offsets
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import MapPair, Maps


@dataclass(frozen=True)
class PairBatch:
    """Images `(B, 1, *shape)` of B pairs on one grid, values from 0 to 1; their masks (above 0 inside), or None.

    Landmarks are `(B, N, D)`, world mm, or None; those of a pair without any are NaN. `pair_ids` `(B,)`, int64, are the
    pairs' numbers in their split, which an auto-decoder asks for.
    """

    fixed: Tensor
    moving: Tensor
    fixed_mask: Tensor | None = None
    moving_mask: Tensor | None = None
    fixed_landmarks: Tensor | None = None
    moving_landmarks: Tensor | None = None
    pair_ids: Tensor | None = None

    def to(self, device: torch.device) -> PairBatch:
        """Return the batch on `device`."""
        return replace(self, **{name: part.to(device) for name, part in vars(self).items() if part is not None})


class FieldObjective:
    """NePhi's loss of a batch; each pair's points come from its own generator, whoever shares the batch."""

    def __init__(
        self, grid: Grid, batch: PairBatch, settings: TrainingObjectiveSettings, generators: Sequence[torch.Generator]
    ) -> None:
        self.grid = grid
        self.batch = batch
        self.settings = settings
        self.generators = generators
        self.offsets = patch_offsets(grid.dimension, settings.radius, settings.spacing).to(batch.fixed)
        self.compare = similarity(settings.similarity, settings.variance_floor)

    def terms(self, prediction: MapPair) -> dict[str, Tensor]:
        """Return the weighted terms of the loss, means over the pairs; their sum is to be minimised.

        similarity: the mean over both directions; gradicon: in both orders; codes: mean |z|.
        """
        batch, settings = self.batch, self.settings
        phi, inverse = prediction.forward, prediction.inverse
        assert inverse is not None
        unlike = self._unlike(batch.fixed, batch.moving, batch.fixed_mask, phi)
        unlike = unlike + self._unlike(batch.moving, batch.fixed, batch.moving_mask, inverse)
        irregular = self._irregular(phi, inverse) + self._irregular(inverse, phi)
        terms = {
            "similarity": unlike / 2,
            "gradicon": settings.gradicon * irregular / 2,
            "codes": settings.codes * prediction.penalties["codes"],
        }
        here, there = batch.fixed_landmarks, batch.moving_landmarks
        if settings.landmarks and here is not None and there is not None:
            terms["landmarks"] = (
                settings.landmarks * (landmark_distance(phi, here, there) + landmark_distance(inverse, there, here)) / 2
            )
        return terms

    def _unlike(self, here: Tensor, there: Tensor, mask: Tensor | None, way: Maps) -> Tensor:
        centres = self._drawn(self.settings.points, mask)
        if self.settings.radius:
            moved, jacobian = way.value_and_jacobian(centres)
            carried = torch.einsum("bnij,kj->bnki", jacobian, self.offsets)
        else:
            moved, carried = way(centres), self.offsets
        patches = centres[:, :, None] + self.offsets, moved[:, :, None] + carried
        samples = [
            interpolate_batch(image, self.grid, points.flatten(1, 2)).reshape(points.shape[:3])
            for image, points in zip((here, there), patches, strict=True)
        ]
        return torch.stack([self.compare(one, other) for one, other in zip(*samples, strict=True)]).mean()

    def _irregular(self, way: Maps, back: Maps) -> Tensor:
        moved, inner = way.value_and_jacobian(self._drawn(self.settings.background_points, None))
        return gradicon(back.value_and_jacobian(moved)[1], inner)

    def _drawn(self, count: int, mask: Tensor | None) -> Tensor:
        """Return points `(B, count, D)`, world mm, in each pair's mask or over the whole grid."""
        sources: list[PointSource] = [GridPoints(self.grid)] * len(self.generators)
        if mask is not None:
            sources = [_source(Image(each[0], self.grid, name="mask")) for each in mask.cpu()]
        drawn = [source.draw(count, own) for source, own in zip(sources, self.generators, strict=True)]
        return torch.stack(drawn).to(self.batch.fixed)


def _source(mask: Image) -> PointSource:
    """Return the points of a mask; of the whole grid where augmentation has moved the mask out of it."""
    return MaskPoints(mask) if bool((mask.data > 0).any()) else GridPoints(mask.grid)


def landmark_distance(way: PointMap, here: Tensor, there: Tensor) -> Tensor:
    """Return the mean over the pairs of the mean distance of landmarks `(B, N, D)`, mm; 0 for a pair without any."""
    known = here.isfinite().all(dim=-1)
    moved = way(torch.where(known[..., None], here, 0.0))
    away = torch.where(known[..., None], moved - there, 0.0)
    return away.norm(dim=-1).mean()
