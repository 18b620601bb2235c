"""The objective of a training: images, random points and landmarks of a batch of pairs for `loss_terms`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.images import Image, ImageSampler
from nephi.objective.labels import ComparedLabels, choose_labels
from nephi.objective.objective import ComparedImages, LandmarkPoints, SamplePoints, landmark_distance, loss_terms
from nephi.sampling import GridPoints, MaskPoints, PointSource, VoxelCentres, patch_offsets, window_offsets
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import MapPair


@dataclass(frozen=True)
class PairBatch:
    """Images `(B, 1, *shape)` of B pairs on one grid, values from 0 to 1; their masks (above 0 inside), or None.

    Landmarks are `(B, N, D)`, world mm, or None; those of a pair without any are NaN. `pair_ids` `(B,)`, int64, are the
    pairs' numbers in their split, by which an auto-decoder finds their latent values. Labels are whole numbers
    `(B, 1, *shape)`, 0 outside all structures and for images without labels, or None. Keypoints `(B, K, D)`, world mm,
    are the places at which a model is to find its keypoints, or None.
    """

    fixed: Tensor
    moving: Tensor
    fixed_mask: Tensor | None = None
    moving_mask: Tensor | None = None
    fixed_landmarks: Tensor | None = None
    moving_landmarks: Tensor | None = None
    pair_ids: Tensor | None = None
    fixed_labels: Tensor | None = None
    moving_labels: Tensor | None = None
    fixed_keypoints: Tensor | None = None
    moving_keypoints: Tensor | None = None

    def to(self, device: torch.device) -> PairBatch:
        """Return the batch on `device`."""
        return replace(self, **{name: part.to(device) for name, part in vars(self).items() if part is not None})


def training_terms(
    maps: MapPair,
    batch: PairBatch,
    grid: Grid,
    settings: TrainingObjectiveSettings,
    generators: Sequence[torch.Generator],
) -> dict[str, Tensor]:
    """Return the weighted terms of the loss of predicted maps, means over the pairs; their sum is minimised.

    The terms are those of `loss_terms`, and `landmarks`. `generators` has one for each pair: its random
    points do not depend on the other pairs of the batch. Computed in single precision under mixed precision as well.
    """
    with torch.autocast(batch.fixed.device.type, enabled=False):
        images, points = compared_images(batch, grid, settings), sample_points(batch, grid, settings, generators)
        labels = compared_labels(batch, points, grid, settings, generators) if settings.dice else None
        terms = loss_terms(maps, images, points, settings, labels=labels)
        if settings.landmarks and batch.fixed_landmarks is not None and batch.moving_landmarks is not None:
            landmarks = LandmarkPoints(batch.fixed_landmarks, batch.moving_landmarks)
            terms["landmarks"] = settings.landmarks * landmark_distance(maps, landmarks)
    return terms


def compared_images(batch: PairBatch, grid: Grid, settings: TrainingObjectiveSettings) -> ComparedImages:
    """Return the images of a batch on `grid`, with the offsets of the samples of a patch."""
    offsets = patch_offsets(grid.dimension, settings.patch_radius(grid.dimension), settings.spacing).to(batch.fixed)
    sampler = ImageSampler(Image(batch.fixed[0, 0], grid))
    fixed, moving = ([sampler.with_data(image[0]) for image in images] for images in (batch.fixed, batch.moving))
    return ComparedImages(fixed, moving, offsets)


def sample_points(
    batch: PairBatch, grid: Grid, settings: TrainingObjectiveSettings, generators: Sequence[torch.Generator]
) -> SamplePoints:
    """Return random points in the masks of a batch (over the whole grid without masks) and background points."""
    counts = settings.points, settings.points, settings.background_points
    samples = []
    for pair, generator in enumerate(generators):
        sources: list[PointSource] = [
            _point_source(masks, pair, grid) for masks in (batch.fixed_mask, batch.moving_mask, None)
        ]
        if settings.sampling == "grid":
            sources = [VoxelCentres(source, grid) for source in sources]
        samples.append([source.draw(count, generator) for source, count in zip(sources, counts, strict=True)])
        if settings.window:
            shape = (settings.points, settings.window_samples, grid.dimension)
            samples[-1].append(window_offsets(shape, settings.window, generator))
    return SamplePoints(*(torch.stack(points).to(batch.fixed) for points in zip(*samples, strict=True)))


def compared_labels(
    batch: PairBatch,
    points: SamplePoints,
    grid: Grid,
    settings: TrainingObjectiveSettings,
    generators: Sequence[torch.Generator],
) -> ComparedLabels:
    """Return the label maps of a batch, and for each pair the labels that are compared at this step."""
    none = torch.zeros_like(batch.fixed, dtype=torch.int64)
    fixed, moving = ((none if labels is None else labels)[:, 0] for labels in (batch.fixed_labels, batch.moving_labels))
    rows = zip(fixed, moving, points.fixed, points.moving, generators, strict=True)
    chosen = [
        choose_labels(labels, others, (centres, partners), grid, settings.dice_labels, generator)
        for labels, others, centres, partners, generator in rows
    ]
    return ComparedLabels(fixed, moving, chosen, grid)


def _point_source(masks: Tensor | None, pair: int, grid: Grid) -> PointSource:
    """Return the points of a pair's mask; of the whole grid where augmentation has moved the mask out of it."""
    if masks is None:
        return GridPoints(grid)
    mask = Image(masks[pair, 0].cpu(), grid, name="mask")
    return MaskPoints(mask) if bool((mask.data > 0).any()) else GridPoints(grid)
