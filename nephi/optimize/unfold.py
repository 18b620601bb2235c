"""Taking the last folds out of fitted fields."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nephi.fields import NeuralField
from nephi.geometry import determinant
from nephi.images import Image
from nephi.losses import folding

LEAST = 0.03  # determinant below which a voxel counts as folded: between its middle and the next there may be less
MOST_VOXELS = 10_000_000  # that are looked at, of larger images every other one along each axis, or every third ...
AT_RISK = 0.3  # mending a fold brings no voxel with a larger determinant near to folding
AIM = 0.1  # determinant that folded voxels are brought to
ROUNDS = 8  # of looking for folds and taking steps against them
STEPS = 60  # at most, in a round
RATE = 1e-2  # the most that a parameter changes in a step


def unfold(field: NeuralField, image: Image, mask: Image | None, generator: torch.Generator) -> int:
    """Change a field until no voxel of a mask (or of the image) folds; return how many voxels did.

    Points drawn at random during a fit miss a fold of a few voxels. Here the Jacobian determinant is computed at every
    voxel (of huge images at every n-th); where next to nothing is left of it, `losses.folding` is lowered at the
    voxel's middle and around it. Steps go straight down the gradient, so that the latent features around the folds move
    and those elsewhere stay: Adam would move all alike. A field without folds is left alone, bit for bit; one that
    cannot be mended in `ROUNDS` rounds keeps what folds are left.
    """
    squeezed = _squeezed(field, image, mask)
    folded = found = _folded(field, squeezed)
    edges = image.grid.affine[:-1, :-1].float()
    parameters = [p for name, p in field.named_parameters() if name.endswith(".table")] or list(field.parameters())
    for _ in range(ROUNDS):
        if not len(found):
            break
        for _ in range(STEPS):
            jitter = torch.rand(folded.shape, generator=generator) - 0.5
            points = torch.cat([folded, folded + jitter @ edges.T])
            _, jacobians = field.value_and_jacobian(points.to(field.amplitude.device))
            if bool((determinant(jacobians[: len(folded)].detach()) > (LEAST + AIM) / 2).all()):
                break
            slopes = torch.autograd.grad(folding(jacobians, AIM), parameters)
            most = max(float(slope.abs().max()) for slope in slopes)
            with torch.no_grad():
                for parameter, slope in zip(parameters, slopes, strict=True):
                    parameter.sub_(slope, alpha=RATE / max(most, 1e-12))
        found = _folded(field, squeezed)
        folded = torch.cat([folded, found])
    return len(folded)


@torch.no_grad()
def _squeezed(field: NeuralField, image: Image, mask: Image | None) -> Tensor:
    """Return the middles `(N, D)` of the voxels at risk, world mm."""
    found = [torch.zeros(0, image.dimension)]
    every = math.ceil((image.grid.size / MOST_VOXELS) ** (1 / image.dimension))
    for start, stop in image.grid.slabs():
        thinned = (slice(None, None, every),) * (image.dimension - 1) + (slice(-start % every, None, every),)
        points = image.grid.voxel_centres(start, stop)[thinned]
        inside = None if mask is None else mask.data[..., start:stop][thinned] > 0
        points = points.reshape(-1, image.dimension) if inside is None else points[inside]
        found.append(points[_determinants(field, points) < AT_RISK])
    return torch.cat(found)


@torch.no_grad()
def _folded(field: NeuralField, points: Tensor) -> Tensor:
    return points[_determinants(field, points) < LEAST]


def _determinants(field: NeuralField, points: Tensor) -> Tensor:
    _, jacobians = field.value_and_jacobian(points.to(field.amplitude.device))
    return determinant(jacobians).cpu()
