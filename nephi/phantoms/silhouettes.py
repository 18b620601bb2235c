"""Triangles and circles: the 2-D shapes of the first experiments of ICON and other learned methods."""

from __future__ import annotations

import math

import torch
from torch import Tensor

CENTRES = (0.4, 0.7)  # range of both coordinates, in the unit square
RADII = (0.2, 0.4)
RING = 0.06  # line width of a hollow shape, in edges of the unit square
BLUR = 0.75  # distance in pixels from a shape's border at which the intensity is 0.12 or 0.88


def silhouettes(count: int, generator: torch.Generator, size: int = 128, hollow: bool = False) -> tuple[Tensor, Tensor]:
    """Return images `(count, size, size)` with values from 0 to 1, and label maps (bool) of the same shape.

    Each image shows, with equal probability, one equilateral triangle (randomly rotated) or one circle in the unit
    square spanned by the outermost pixel centres: centre uniform in [0.4, 0.7]^2, radius (of a triangle's circumcircle)
    uniform in [0.2, 0.4], as in the experiments of ICON (Greer et al., ICCV 2021). `hollow` shapes are outlines.
    """
    centre = _uniform((count, 1, 1, 2), CENTRES, generator)
    radius = _uniform((count, 1, 1), RADII, generator)
    rotation = _uniform((count, 1, 1), (0.0, 2 * math.pi / 3), generator)
    triangle = torch.rand(count, 1, 1, generator=generator, dtype=torch.float32) < 0.5
    line = torch.linspace(0, 1, size, dtype=torch.float32)
    points = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1) - centre
    depth = torch.where(triangle, _triangle_depth(points, radius, rotation), radius - points.norm(dim=-1))
    if hollow:
        depth = torch.minimum(depth, RING - depth)
    return torch.sigmoid(2 * depth * (size - 1) / BLUR), depth > 0


def _triangle_depth(points: Tensor, radius: Tensor, rotation: Tensor) -> Tensor:
    """Return the depth of points `(..., 2)` below the nearest side of an equilateral triangle; negative outside."""
    sides = torch.tensor([0.0, 2 * math.pi / 3, 4 * math.pi / 3], dtype=torch.float32)
    normals = rotation.unsqueeze(-1) + sides  # angles of the sides' outward normals
    heights = points[..., :1] * normals.cos() + points[..., 1:] * normals.sin()
    return radius / 2 - heights.amax(dim=-1)


def _uniform(shape: tuple[int, ...], bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float32)
