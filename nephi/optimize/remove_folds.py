"""Taking the last folds out of fitted fields."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nephi.fields import ComposedField, NeuralField
from nephi.geometry import determinant
from nephi.images import Image
from nephi.losses import folding
from nephi.metrics import slab_inside

LEAST = 0.03  # determinant below which a voxel counts as folded: between its middle and the next there may be less
MOST_VOXELS = 10_000_000  # that are looked at, of larger images every other one along each axis, or every third ...
MOST_FOLDED = 4096  # voxels that one round works on
AT_RISK = 0.3  # mending a fold brings no voxel with a larger determinant near to folding
AIM = 0.1  # determinant that folded voxels are brought to
ROUNDS = 8  # of looking for folds and taking steps against them
STEPS = 60  # at most, in a round
RATE = 1e-2  # the most that a parameter changes in a step


def remove_folds(
    field: NeuralField | ComposedField, image: Image, mask: Image | None, generator: torch.Generator
) -> None:
    """Change a field of dense latent grids (or a chain of them) until no voxel of a mask (or of the image) folds.

    Points drawn at random during a fit miss a fold of a few voxels. Here the Jacobian determinant is computed at every
    voxel (of huge images at every n-th); where next to nothing is left of it, `losses.folding` is lowered at the
    voxel's middle and around it. Steps go straight down the gradient, so that the latent features around the folds move
    and those elsewhere stay: Adam would move all alike. A field without folds is left alone, bit for bit, as is one of
    another kind, where a step would move everything; one that cannot be mended in `ROUNDS` rounds keeps some folds.
    """
    features = field.local_features
    if not features:
        return
    squeezed = _squeezed(field, image, mask)
    folded = _folded(field, squeezed)
    edges = image.grid.affine[:-1, :-1].float()
    for _ in range(ROUNDS if bool(folded.any()) else 0):
        middles = squeezed[folded]
        middles = middles[torch.randperm(len(middles), generator=generator)[:MOST_FOLDED]]
        for _ in range(STEPS):
            jitter = torch.rand(middles.shape, generator=generator, dtype=torch.float32) - 0.5
            points = torch.cat([middles, middles + jitter @ edges.T])
            _, jacobians = field.value_and_jacobian(points.to(field.device))
            if bool((determinant(jacobians[: len(middles)].detach()) > (LEAST + AIM) / 2).all()):
                break
            slopes = torch.autograd.grad(folding(jacobians, AIM), features)
            steepest = max(float(slope.abs().max()) for slope in slopes)
            with torch.no_grad():
                for part, slope in zip(features, slopes, strict=True):
                    part.sub_(slope, alpha=RATE / max(steepest, 1e-12))
        left = _folded(field, squeezed)
        if not bool(left.any()):
            break
        folded |= left  # those mended before stay watched


@torch.no_grad()
def _squeezed(field: NeuralField | ComposedField, image: Image, mask: Image | None) -> Tensor:
    """Return the middles `(N, D)` of the voxels at risk, world mm."""
    found = [torch.zeros(0, image.dimension, dtype=torch.float32)]
    every = math.ceil((image.grid.size / MOST_VOXELS) ** (1 / image.dimension))
    for start, stop in image.grid.slabs():
        thinned = (slice(None, None, every),) * (image.dimension - 1) + (slice(-start % every, None, every),)
        points = image.grid.voxel_centres(start, stop)[thinned]
        inside = ... if mask is None else slab_inside(mask, image.grid, start, stop)[thinned]
        points = points[inside].reshape(-1, image.dimension)
        found.append(points[_determinants(field, points) < AT_RISK])
    return torch.cat(found)


@torch.no_grad()
def _folded(field: NeuralField | ComposedField, points: Tensor) -> Tensor:
    return _determinants(field, points) < LEAST


def _determinants(field: NeuralField | ComposedField, points: Tensor) -> Tensor:
    _, jacobians = field.value_and_jacobian(points.to(field.device))
    return determinant(jacobians).cpu()
