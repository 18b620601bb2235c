"""Triangles and circles: the two-dimensional shapes on which learned registration is usually tried first."""

from __future__ import annotations

import math

import torch
from torch import Tensor

CENTRES = (0.4, 0.7)  # of both coordinates, in the unit square
RADII = (0.2, 0.4)
RING = 0.06  # width of a hollow shape's line, in edges of the unit square
BLUR = 0.75  # pixels from a shape's border to where its brightness is 0.12 or 0.88


def silhouettes(count: int, generator: torch.Generator, size: int = 128, hollow: bool = False) -> tuple[Tensor, Tensor]:
    """Return pictures `(count, size, size)` with values from 0 to 1, and their labels (bool, inside), both on one grid.

    Each shows one triangle (equilateral, turned at random) or one circle, as likely, in the unit square that the
    pixels' outermost centres span: centre uniform in [0.4, 0.7]^2, radius (the triangle's to its corners) uniform in
    [0.2, 0.4], as in the experiments of ICON (Greer et al., ICCV 2021). A `hollow` shape is its outline.
    """
    centre = _uniform((count, 1, 1, 2), CENTRES, generator)
    radius = _uniform((count, 1, 1), RADII, generator)
    turn = _uniform((count, 1, 1), (0.0, 2 * math.pi / 3), generator)
    triangle = torch.rand(count, 1, 1, generator=generator, dtype=torch.float32) < 0.5
    line = torch.linspace(0, 1, size, dtype=torch.float32)
    points = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1) - centre
    depth = torch.where(triangle, _triangle_depth(points, radius, turn), radius - points.norm(dim=-1))
    if hollow:
        depth = torch.minimum(depth, RING - depth)
    return torch.sigmoid(2 * depth * (size - 1) / BLUR), depth > 0


def _triangle_depth(points: Tensor, radius: Tensor, turn: Tensor) -> Tensor:
    """Return how far inside the nearest side of an equilateral triangle points `(..., 2)` lie; less than 0 outside."""
    normals = torch.tensor([0.0, 2 * math.pi / 3, 4 * math.pi / 3], dtype=torch.float32)  # their directions
    angles = turn.unsqueeze(-1) + normals
    along = points[..., :1] * angles.cos() + points[..., 1:] * angles.sin()
    return radius / 2 - along.amax(dim=-1)


def _uniform(shape: tuple[int, ...], bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float32)
