"""The training losses, sampled off the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid, PointMap, interpolate_batch
from nephi.images import Image
from nephi.losses import LOCAL, gradicon, similarity, similarity_factors
from nephi.sampling import GridPoints, MaskPoints, PointSource, patch_offsets
from nephi.transforms import MapPair, Maps


@dataclass(frozen=True)
class ObjectiveSettings:
    """Weights and numbers of points of the training losses.

    similarity: one of `nephi.losses.SIMILARITIES`, or a sum like "ncc + lncc2".
    contrast: standard deviation at which a patch counts half in `lncc` and `lncc2`.
    points: random ones for the similarity in each pair and direction, drawn anew at every step, inside the masks where
        there are any.
    radius: of 1 or more makes each point the centre of a patch of `(2 radius + 1)^D` samples, which the Jacobian
        carries along.
    spacing: mm between the samples of a patch.
    regular_points: for the gradient inverse consistency, over the whole grid.
    gradicon: its weight (NePhi's 10 divides by D^2, this sums over the matrix).
    codes: weight of the mean |z| (Tian et al., ECCV 2024).
    landmarks: weight of the mean distance (in mm) of known corresponding points, where pairs come with some.
    landmark_points: how many of them are drawn of each pair.
    diffusion: weight of the mean squared gradient of the displacement, the regularity of a displacement network; its
        similarity is 1 - NCC of all voxels.
    """

    similarity: str = "ncc"
    contrast: float = 0.1
    points: int = 2000
    radius: int = 0
    spacing: float = 4.0
    regular_points: int = 128
    gradicon: float = 0.3
    codes: float = 0.01
    landmarks: float = 0.0
    landmark_points: int = 200
    diffusion: float = 0.1

    def __post_init__(self) -> None:
        weights = self.gradicon, self.codes, self.landmarks, self.diffusion
        if self.points < 2 or min(self.regular_points, self.landmark_points) < 1 or min(weights) < 0:
            raise UsageError(
                "objective: expected 2 points, 1 of the regular_points and landmark_points or more, weights of 0 or "
                f"more, got {self}"
            )
        if self.radius < 0 or self.spacing <= 0 or self.contrast <= 0:
            raise UsageError(
                "objective: expected a radius of 0 or more, spacing and contrast above 0, got "
                f"{self.radius}, {self.spacing:g} and {self.contrast:g}"
            )
        local = similarity_factors(self.similarity).keys() & {*LOCAL}
        if local and not self.radius:
            raise UsageError(
                f"objective.radius: similarity {self.similarity} compares patches: expected 1 or more, got 0"
            )


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
        self, grid: Grid, batch: PairBatch, settings: ObjectiveSettings, generators: Sequence[torch.Generator]
    ) -> None:
        self.grid = grid
        self.batch = batch
        self.settings = settings
        self.generators = generators
        self.offsets = patch_offsets(grid.dimension, settings.radius, settings.spacing).to(batch.fixed)
        self.compare = similarity(settings.similarity, settings.contrast)

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
        moved, inner = way.value_and_jacobian(self._drawn(self.settings.regular_points, None))
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
