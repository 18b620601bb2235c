"""A pair of coarse chest CTs between which everything moved locally, at random."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid, determinant
from nephi.phantoms.chest import APEX, BASE, BODY, Chest, body_depth
from nephi.phantoms.grids import field_of_view
from nephi.phantoms.motion import WaveMotion, Window
from nephi.phantoms.pair import PhantomPair, landmarks_in, render, render_mask
from nephi.phantoms.waves import PlaneWaves

WAVES = 16
SPREAD = 10.0  # mm: wavelengths lie within so much of the mean one
NOISE = 20.0  # HU
DENSE = 8.0  # mm: spacing of the points at which the largest displacement is determined
EXTENT = (2 * BODY[0] + 8, 2 * BODY[1] + 8, APEX - BASE + 8)  # mm, of the fixed image


def local_motion_phantom(
    seed: int = 0, motion: float = 20.0, wavelength: float = 70.0, spacing: float = 4.0, count: int = 300
) -> PhantomPair:
    """Return a chest CT pair (HU, int16) between which everything moved by a smooth random field, without a trend.

    The displacement is a sum of plane waves of about `wavelength` mm, each perpendicular to its direction: no wave
    compresses anything, so that 20 mm at 70 mm do not fold. Its largest length on the fixed grid is `motion` mm; its
    mean is about two fifths of that. An affine map cannot reduce it. Voxels are cubes of about `spacing` mm; the moving
    image extends `motion` mm beyond the fixed one. The masks are the body, skin included; the `count` landmarks lie in
    it.

    Raises `UsageError` for numbers out of range, or a motion that folds.
    """
    if not 0 < motion < math.inf:
        raise UsageError(f"motion: expected a positive finite number of mm, got {motion:g}")
    if not SPREAD < wavelength < math.inf:
        raise UsageError(f"wavelength: expected more than {SPREAD:g} mm, got {wavelength:g}")
    if not 0 < spacing <= DENSE:
        raise UsageError(f"spacing: expected more than 0 and at most {DENSE:g} mm, got {spacing:g}")
    generator = torch.Generator().manual_seed(seed)
    chest = Chest.random(generator)
    fixed_grid, moving_grid = _grid(0.0, spacing), _grid(motion, spacing)
    transform = random_motion(fixed_grid, motion, wavelength, generator)

    def moving_intensity(points: Tensor) -> Tensor:
        return chest(points, torch.ones_like(points[:, 0]))

    fixed_mask = render_mask(fixed_grid, lambda points: body_depth(transform(points)) > 0, "fixed body")
    return PhantomPair(
        fixed=render(fixed_grid, lambda points: moving_intensity(transform(points)), NOISE, generator, "fixed phantom"),
        moving=render(moving_grid, moving_intensity, NOISE, generator, "moving phantom"),
        fixed_mask=fixed_mask,
        moving_mask=render_mask(moving_grid, lambda points: body_depth(points) > 0, "moving body"),
        transform=transform,
        landmarks=landmarks_in(fixed_mask, transform, count, generator),
    )


def random_motion(grid: Grid, motion: float, wavelength: float, generator: torch.Generator) -> WaveMotion:
    """Return a smooth random motion, at most `motion` mm on `grid`, of waves of about `wavelength` mm.

    Raises `UsageError` for a motion that folds.
    """
    waves = PlaneWaves.random(WAVES, 3, 3, (wavelength - SPREAD, wavelength + SPREAD), generator).transversal()
    everywhere = torch.full((3,), math.inf, dtype=torch.float64)
    shape = WaveMotion(waves, Window(torch.zeros(3, dtype=torch.float64), everywhere, 0.02), 1.0)
    strides = [max(1, int(DENSE / spacing)) for spacing in grid.spacing.tolist()]
    probes = grid.voxel_centres()[tuple(slice(None, None, stride) for stride in strides)].reshape(-1, 3)
    transform = replace(shape, amplitude=motion / float((shape(probes) - probes).norm(dim=1).max()))
    smallest = float(determinant(transform.value_and_jacobian(probes)[1]).min())
    if smallest <= 0:
        raise UsageError(
            f"motion: expected one that does not fold at a wavelength of {wavelength:g} mm, got {motion:g} mm "
            f"(determinant {smallest:.2f})"
        )
    return transform


def _grid(margin: float, spacing: float) -> Grid:
    """Return the grid of the fixed image, extended by `margin` mm on all sides."""
    extent = [edge + 2 * margin for edge in EXTENT]
    shape = [round(edge / spacing) for edge in extent]
    return field_of_view(shape, extent, (0.0, 0.0, (APEX + BASE) / 2), torch.eye(3, dtype=torch.float64))
