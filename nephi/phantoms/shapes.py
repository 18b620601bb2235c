"""A pair of synthetic 2-D images of smooth shapes with a known motion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid, determinant
from nephi.phantoms.grids import field_of_view, rotation
from nephi.phantoms.motion import WaveMotion, Window
from nephi.phantoms.pair import PhantomPair, landmarks_in, render, render_mask
from nephi.phantoms.waves import PlaneWaves

# World millimetres. The images show an elliptic disc with blobs, on an empty background.
DISC = (66.0, 58.0)  # half-axes
FIELD_OF_VIEW = (160.0, 144.0)
BLOBS = 9
EDGE = 1.5  # width of the disc's border
LANDMARKS = 200
SMALLEST_DETERMINANT = 0.2


@dataclass(frozen=True, eq=False)
class Shapes:
    """A textured disc with smooth elliptic blobs, 0 outside, values up to about 1000."""

    centres: Tensor
    radii: Tensor
    levels: Tensor
    texture: PlaneWaves

    @classmethod
    def random(cls, generator: torch.Generator) -> Shapes:
        """Draw texture, and blobs that are spread evenly over the disc so that no part of it is empty."""
        jitter = torch.rand(BLOBS, 2, generator=generator, dtype=torch.float32)
        angle = 2 * math.pi * (torch.arange(BLOBS) + 0.6 * jitter[:, 0]) * (math.sqrt(5) - 1) / 2
        distance = ((torch.arange(BLOBS, dtype=torch.float32) + 0.2 + 0.6 * jitter[:, 1]) / BLOBS).sqrt() * 0.85
        direction = torch.stack([angle.cos(), angle.sin()], dim=1)
        centres = direction * distance[:, None] * torch.tensor(DISC, dtype=torch.float32)
        radii = 6 + 10 * torch.rand(BLOBS, 2, generator=generator, dtype=torch.float32)
        levels = torch.rand(BLOBS, generator=generator, dtype=torch.float32) * 300 + 150
        levels[1::2] *= -1
        return cls(centres, radii, levels, PlaneWaves.random(16, 1, 2, (8.0, 32.0), generator))

    def __call__(self, points: Tensor) -> Tensor:
        """Return the intensity `(N,)` at moving points `(N, 2)`, world mm."""
        scaled = (points[:, None] - self.centres) / self.radii
        blobs = torch.sigmoid(4 * (1 - scaled.square().sum(dim=-1))) @ self.levels
        values = 450 + blobs + 50 * self.texture(points)[:, 0]
        return values * torch.sigmoid(disc_depth(points) / (0.5 * EDGE))


def disc_depth(points: Tensor) -> Tensor:
    """Return the depth in mm below the disc's rim, to first order there: positive inside `(...)`, points `(..., 2)`."""
    radii = points.new_tensor(DISC)
    radius = (points / radii).norm(dim=-1)
    depth: Tensor = (1 - radius) * radius / (points / radii**2).norm(dim=-1).clamp(min=1e-4)
    return depth


def shapes_phantom(
    seed: int = 0,
    motion: float = 8.0,
    *,
    noise: float = 10.0,
    shape: tuple[int, int] = (128, 128),
    fixed_grid: Grid | None = None,
    moving_grid: Grid | None = None,
) -> PhantomPair:
    """Return a 2-D pair (int16, values up to about 1000) with a known smooth transform, on different grids.

    Parameters
    ----------
    seed
        Seed of blobs, texture, motion, landmarks and noise.
    motion
        Largest displacement in the disc, mm (to 1 %).
    noise
        Standard deviation of the Gaussian noise, independent in the two images.
    shape
        Voxels of the fixed image (the moving one has about as many); the field of view does not change.
    fixed_grid, moving_grid
        Grids that replace the default ones; the default moving grid is oblique, anisotropic and has a flipped axis.

    Raises
    ------
    UsageError
        When a number is out of range, or `motion` is so large that it nearly folds.
    """
    if motion <= 0:
        raise UsageError(f"motion: expected a positive number of mm, got {motion:g}")
    if noise < 0:
        raise UsageError(f"noise: expected a number of 0 or more, got {noise:g}")
    generator = torch.Generator().manual_seed(seed)
    shapes = Shapes.random(generator)
    transform = _waves(motion, generator)
    fixed_grid = fixed_grid or field_of_view(shape, FIELD_OF_VIEW, (0.0, 0.0), torch.eye(2, dtype=torch.float64))
    moving_grid = moving_grid or _moving_grid(shape)
    fixed_mask = render_mask(fixed_grid, lambda points: disc_depth(transform(points)) > 0, "fixed disc")
    return PhantomPair(
        fixed=render(fixed_grid, lambda points: shapes(transform(points)), noise, generator, "fixed phantom"),
        moving=render(moving_grid, shapes, noise, generator, "moving phantom"),
        fixed_mask=fixed_mask,
        moving_mask=render_mask(moving_grid, lambda points: disc_depth(points) > 0, "moving disc"),
        transform=transform,
        landmarks=landmarks_in(fixed_mask, transform, LANDMARKS, generator),
    )


@torch.no_grad()
def _waves(motion: float, generator: torch.Generator) -> WaveMotion:
    """Return long waves with a largest displacement of `motion` mm in the disc.

    Raises `UsageError` when they compress a part of it to less than `SMALLEST_DETERMINANT` of its area.
    """
    waves = PlaneWaves.random(6, 2, 2, (90.0, 240.0), generator)
    window = Window(torch.zeros(2, dtype=torch.float32), torch.tensor(DISC, dtype=torch.float32) * 1.05, 0.35)
    grid = field_of_view((160, 144), FIELD_OF_VIEW, (0.0, 0.0), torch.eye(2, dtype=torch.float64))
    probes = grid.voxel_centres().reshape(-1, 2)
    unit = WaveMotion(waves, window, 1.0)(probes) - probes
    amplitude = motion / float(unit.norm(dim=-1).max())
    for _ in range(3):  # fixed-point iteration: disc and amplitude depend on each other
        disc = disc_depth(probes + amplitude * unit) > 0
        amplitude = motion / float(unit[disc].norm(dim=-1).max())
    transform = WaveMotion(waves, window, amplitude)
    smallest = float(determinant(transform.value_and_jacobian(probes)[1]).min())
    if smallest < SMALLEST_DETERMINANT:
        raise UsageError(
            f"motion: expected one that compresses the disc to {SMALLEST_DETERMINANT:g} of its area or more, got "
            f"{motion:g} mm, which compresses it to {smallest:.2f} in places"
        )
    return transform


def _moving_grid(shape: tuple[int, int]) -> Grid:
    """Return an oblique, left-handed grid with the axes swapped and other spacings than the fixed one."""
    counts = (round(0.95 * shape[1]), round(1.1 * shape[0]))
    extent = (FIELD_OF_VIEW[1] + 16, FIELD_OF_VIEW[0] + 8)
    swapped = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    return field_of_view(counts, extent, (3.0, -2.0), rotation(0.25) @ swapped)
