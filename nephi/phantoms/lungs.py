"""A pair of synthetic chest CTs at inspiration and expiration with a known motion."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid, determinant
from nephi.phantoms.calibration import calibrated
from nephi.phantoms.chest import AIR, APEX, BASE, BLOOD, BODY, PARENCHYMA, Chest, lung_depth
from nephi.phantoms.grids import field_of_view, rotation
from nephi.phantoms.motion import Breathing, Ramp, WaveMotion, Window
from nephi.phantoms.pair import PhantomPair, landmarks_in, render, render_mask
from nephi.phantoms.waves import PlaneWaves

MARGIN = 13.0  # mm between the lungs and the ends of the images
LANDMARKS = 300


def lung_phantom(
    seed: int = 0,
    motion: float = 20.0,
    *,
    local: float = 2.0,
    compression: float = 0.4,
    noise: float = 20.0,
    density: float = 1.0,
    vessels: float = 1.0,
    tissue: float = PARENCHYMA,
    shape: tuple[int, int, int] = (136, 100, 108),
    fixed_grid: Grid | None = None,
    moving_grid: Grid | None = None,
) -> PhantomPair:
    """Return a 3-D chest CT pair (HU, int16): fixed at inspiration, moving at expiration, on different grids.

    Parameters
    ----------
    seed
        Seed of vessels, texture, local motion, landmarks and noise; the organs are the same for all seeds.
    motion
        Largest displacement in the lungs, mm (to 1 %).
    local
        Largest displacement of the local waves (wavelengths of 10 to 20 mm) in the lungs, mm; their root mean square is
        about a third of it. Limited to a quarter of `motion`; 0 yields smooth breathing without waves.
    compression
        Smallest Jacobian determinant in the lungs that `local` may cause; stronger waves are reduced to it. With the
        default `local` it is attained (to 0.1) for every motion of at least 10 mm.
    noise
        Standard deviation of the Gaussian noise, HU; independent in the two images.
    density
        Exponent of the change of lung density: the density of lung tissue is multiplied by the Jacobian determinant of
        the breathing (without local waves) to this power. 1 conserves mass, 0 makes `fixed(x) = moving(phi(x))` exact.
    vessels
        Thickness of the vessels, 1 for radii of 1.5 to 5 mm; of thinner vessels fewer are visible.
    tissue
        Mean HU of lung tissue between the vessels in the moving image, -1000 to 40. A texture of about 35 HU (root mean
        square) is added, so very dark tissue may fall below the HU of air.
    shape
        Voxels of the fixed image (the moving one has about as many); the field of view does not change.
    fixed_grid, moving_grid
        Grids that replace the default ones; the default moving grid is oblique, anisotropic and has permuted axes.

    Raises
    ------
    UsageError
        When a number is out of range, or `motion` is so large that it folds.
    """
    if not 0 < motion < math.inf:
        raise UsageError(f"motion: expected a positive finite number of mm, got {motion:g}")
    for name, value in {"local": local, "noise": noise, "density": density, "vessels": vessels}.items():
        if not 0 <= value < math.inf:
            raise UsageError(f"{name}: expected a finite number of 0 or more, got {value:g}")
    if not AIR <= tissue <= BLOOD:
        raise UsageError(f"tissue: expected HU from {AIR:g} (air) to {BLOOD:g} (blood), got {tissue:g}")
    generator = torch.Generator().manual_seed(seed)
    chest = Chest.random(generator, vessels, tissue)
    transform = _breathing(motion, min(local, motion / 4), compression, generator)
    without_waves = replace(transform, local=replace(transform.local, amplitude=0.0))

    def moving_intensity(points: Tensor) -> Tensor:
        return chest(points, torch.ones_like(points[:, 0]))

    def fixed_intensity(points: Tensor) -> Tensor:
        volume = determinant(without_waves.value_and_jacobian(points)[1])
        return chest(transform(points), volume.clamp(0.5, 2.0) ** density)

    fixed_grid = fixed_grid or _fixed_grid(shape, motion)
    moving_grid = moving_grid or _moving_grid(shape)
    fixed_mask = render_mask(fixed_grid, lambda points: lung_depth(transform(points)) > 0, "fixed lungs")
    return PhantomPair(
        fixed=render(fixed_grid, fixed_intensity, noise, generator, "fixed phantom"),
        moving=render(moving_grid, moving_intensity, noise, generator, "moving phantom"),
        fixed_mask=fixed_mask,
        moving_mask=render_mask(moving_grid, lambda points: lung_depth(points) > 0, "moving lungs"),
        transform=transform,
        landmarks=landmarks_in(fixed_mask, transform, LANDMARKS, generator),
    )


def _breathing(motion: float, local: float, compression: float, generator: torch.Generator) -> Breathing:
    """Return a random breathing of the chest whose lungs at expiration are those of `lung_depth`."""
    waves = PlaneWaves.random(12, 3, 3, (10.0, 20.0), generator)
    length = max(160.0, 2.7 * motion)  # mm over which the displacement grows; a shorter one compresses too much
    centre = torch.tensor([0.0, 0.0, (APEX + BASE - motion) / 2], dtype=torch.float32)
    inner = torch.tensor([122.0, 82.0, 0.55 * (APEX - BASE + motion)], dtype=torch.float32)
    shape = Breathing(
        amplitude=motion,
        depth=0.15,
        window=Window(
            torch.tensor([0.0, -12.0, 0.0], dtype=torch.float32),
            torch.tensor([128.0, 96.0, math.inf], dtype=torch.float32),
            0.2,
        ),
        rise=Ramp(2, BASE - motion + 30.0 + length, BASE - motion + 30.0, 15.0),
        front=Ramp(1, -70.0, 75.0, 12.0),
        local=WaveMotion(waves, Window(centre, inner, 0.12), 1.0),
    )
    probes = _fixed_grid((100, 74, 100), motion).voxel_centres()
    return calibrated(shape, motion, local, compression, lambda points: lung_depth(points) > 0, probes.reshape(-1, 3))


def _fixed_grid(shape: tuple[int, int, int], motion: float) -> Grid:
    """Return an axis-aligned grid that contains the body's cross-section and the fixed lungs."""
    extent = (2 * BODY[0] + 8, 2 * BODY[1] + 8, APEX - BASE + motion + 2 * MARGIN)
    return field_of_view(shape, extent, (0.0, 0.0, (APEX + BASE - motion) / 2), torch.eye(3, dtype=torch.float64))


def _moving_grid(shape: tuple[int, int, int]) -> Grid:
    """Return an oblique grid around the moving lungs with other spacings; its axes run forward, down and left."""
    counts = (round(1.1 * shape[1]), round(0.9 * shape[2]), shape[0])
    extent = (2 * BODY[1] + 12, APEX - BASE + 2 * MARGIN + 14, 2 * BODY[0] + 8)
    forward_down_left = torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]], dtype=torch.float64)
    centre = (3.0, -2.0, (APEX + BASE) / 2)
    return field_of_view(counts, extent, centre, rotation(0.06, -0.04, 0.09) @ forward_down_left)
