"""Two bodies that slide along a wall."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid, PointPairs, identity_like
from nephi.images import Image
from nephi.phantoms.pair import PhantomPair, landmarks_in, render
from nephi.phantoms.waves import PlaneWaves
from nephi.transforms import Transform

EDGE = 128.0  # mm, of every axis
WAVELENGTHS = (12.0, 96.0)  # mm, of the textures: structure of all sizes, as organs have
GAP = 4.0  # mm: landmarks are at least this far from the wall
CONTRAST, NOISE = 150.0, 10.0
LEVELS = 400.0, 900.0  # mean values of the organ and of the wall


@dataclass(frozen=True, eq=False, repr=False)
class Sliding(Transform):
    """`phi(x) = x + slip` where `x_0 > 0`, and x elsewhere; world mm. The map jumps in the plane `x_0 = 0`.

    `slip` `(D,)` lies in that plane: nothing overlaps, and no gap opens.
    """

    slip: Tensor

    @property
    def dimension(self) -> int:
        """Number of coordinates D."""
        return len(self.slip)

    def __call__(self, points: Tensor) -> Tensor:
        """Return `phi(x)` for points `(..., D)`."""
        return points + (points[..., :1] > 0) * self.slip.to(points)

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return `phi(x)` and its Jacobian, the identity on both sides of the plane."""
        values = self(points)
        return values, identity_like(values).expand(*points.shape, self.dimension)


def sliding_phantom(
    seed: int = 0, shift: float = 20.0, spacing: float = 2.0, dimension: int = 3, count: int = 400
) -> PhantomPair:
    """Return an organ that slid by `shift` mm along a wall, both with a texture of their own.

    The images are cubes of 128 mm, centred on the origin, with voxels of `spacing` mm. The organ is the half
    `x_0 > 0`, the wall, which does not move, the other half. The masks hold what lies in both images, at least 4 mm
    from the wall's surface; `count` landmarks lie in the fixed one, on both sides. Raises `UsageError` for a shift of
    half an edge or more.
    """
    if not 0 <= shift < EDGE / 2:
        raise UsageError(f"shift: expected 0 to less than {EDGE / 2:g} mm, got {shift:g}")
    generator = torch.Generator().manual_seed(seed)
    voxels = round(EDGE / spacing)
    grid = Grid.from_spacing((voxels,) * dimension, (spacing,) * dimension, [-0.5 * spacing * (voxels - 1)] * dimension)
    slip = torch.zeros(dimension, dtype=torch.float64)
    slip[1] = shift
    transform = Sliding(slip)
    textures = [PlaneWaves.random(40, 1, dimension, WAVELENGTHS, generator) for _ in LEVELS]

    def intensity(points: Tensor) -> Tensor:
        organ, wall = (
            level + CONTRAST * texture(points)[..., 0] for level, texture in zip(LEVELS, textures, strict=True)
        )
        return torch.where(points[..., 0] > 0, organ, wall)

    moving = render(grid, intensity, NOISE, generator, "moving")
    fixed = render(grid, lambda points: intensity(transform(points)), NOISE, generator, "fixed")
    inside = _seen(grid, slip), _seen(grid, -slip)
    masks = [Image(mask, grid, name=f"{name} mask") for mask, name in zip(inside, ("fixed", "moving"), strict=True)]
    landmarks: PointPairs = landmarks_in(masks[0], transform, count, generator)
    return PhantomPair(fixed, moving, masks[0], masks[1], transform, landmarks)


def _seen(grid: Grid, slip: Tensor) -> Tensor:
    """Return the mask of the voxels away from the wall that stay at least `GAP` inside the image when they slip."""
    points = grid.voxel_centres()
    moved = points + (points[..., :1] > 0) * slip.to(points)
    inside = (torch.stack([points, moved]).abs() < EDGE / 2 - GAP).all(dim=0).all(dim=-1)
    return (inside & (points[..., 0].abs() >= GAP)).to(torch.uint8)
