"""Removal of the folds that remain in fitted fields."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nephi.fields import ComposedField, NeuralField
from nephi.geometry import determinant
from nephi.images import Image
from nephi.losses import folding
from nephi.metrics import slab_inside
from nephi.ordered_map import map_ordered

FOLDED = 0.03  # a voxel folds if the determinant at its centre is lower: it may be less between it and the next
AT_RISK = 0.3  # removing a fold elsewhere does not make voxels with a larger determinant fold
TARGET = 0.1  # determinant that folded voxels are to reach
MAX_VOXELS = 10_000_000  # in larger images the voxels at regular intervals are checked
MAX_FOLDED = 4096  # voxels whose folds one round removes
ROUNDS = 8  # of searching folds and taking steps against them
STEPS = 60  # at most, in a round
RATE = 1e-2  # largest change of a parameter in a step


def remove_folds(
    field: NeuralField | ComposedField, image: Image, mask: Image | None, generator: torch.Generator
) -> None:
    """Change a field of dense latent grids (or a chain of them) until no voxel of a mask (or of the image) folds.

    Random points during a fit miss a fold of a few voxels. This function computes the Jacobian determinant at every
    voxel (of huge images at every n-th); where it is below `FOLDED`, it lowers `losses.folding` at the voxel's centre
    and around it. The steps are plain gradient descent, which changes only the latent features around the folds; Adam
    would change all features by as much. A field without folds stays the same bit for bit, as does a field of another
    kind, in which a step would change the map everywhere. A field may keep folds that `ROUNDS` rounds do not remove.
    """
    features = field.local_features
    if not features:
        return
    at_risk = _voxels_at_risk(field, image, mask)
    folded = _is_folded(field, at_risk)
    edges = image.grid.affine[:-1, :-1].float()
    for _ in range(ROUNDS if bool(folded.any()) else 0):
        centres = at_risk[folded]
        centres = centres[torch.randperm(len(centres), generator=generator)[:MAX_FOLDED]]
        for _ in range(STEPS):
            jitter = torch.rand(centres.shape, generator=generator, dtype=torch.float32) - 0.5
            points = torch.cat([centres, centres + jitter @ edges.T])
            _, jacobians = field.value_and_jacobian(points.to(field.device))
            if bool((determinant(jacobians[: len(centres)].detach()) > (FOLDED + TARGET) / 2).all()):
                break
            gradients = torch.autograd.grad(folding(jacobians, TARGET), features)
            largest = max(float(gradient.abs().max()) for gradient in gradients)
            with torch.no_grad():
                for feature, gradient in zip(features, gradients, strict=True):
                    feature.sub_(gradient, alpha=RATE / max(largest, 1e-12))
        remaining = _is_folded(field, at_risk)
        if not bool(remaining.any()):
            break
        folded |= remaining  # those of earlier rounds are still included


@torch.no_grad()
def _voxels_at_risk(field: NeuralField | ComposedField, image: Image, mask: Image | None) -> Tensor:
    """Return the centres `(N, D)`, world mm, of the voxels whose determinant is below `AT_RISK`."""
    interval = math.ceil((image.grid.size / MAX_VOXELS) ** (1 / image.dimension))

    def in_slab(limits: tuple[int, int]) -> Tensor:
        start, stop = limits
        every = (slice(None, None, interval),) * (image.dimension - 1) + (slice(-start % interval, None, interval),)
        points = image.grid.voxel_centres(start, stop)[every]
        inside = ... if mask is None else slab_inside(mask, image.grid, start, stop)[every]
        points = points[inside].reshape(-1, image.dimension)
        return points[_determinants(field, points) < AT_RISK]

    return torch.cat(list(map_ordered(in_slab, image.grid.slabs())))


@torch.no_grad()
def _is_folded(field: NeuralField | ComposedField, points: Tensor) -> Tensor:
    return _determinants(field, points) < FOLDED


def _determinants(field: NeuralField | ComposedField, points: Tensor) -> Tensor:
    _, jacobians = field.value_and_jacobian(points.to(field.device))
    return determinant(jacobians).cpu()
