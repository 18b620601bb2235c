"""A brain-like pair with detail of two voxels: thin folded ribbons under a motion with short waves."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.phantoms.motion import WaveMotion, Window
from nephi.phantoms.pair import PhantomPair, landmarks_in, render, render_mask
from nephi.phantoms.waves import PlaneWaves

HALF_AXES = (0.4, 0.35, 0.32)  # of the body, in edges of the image
# In voxels: wavelengths of the folds, thickness of the grey ribbons, half the thickness of the fluid between two of
# them, wavelengths of the texture of the white tissue and of the displacement.
FOLDS, THICKNESS, FLUID_DEPTH, TEXTURES, MOTION = (14.0, 28.0), 2.0, 0.7, (4.0, 16.0), (8.0, 40.0)
DARK, FLUID, GREY, WHITE = 0.0, 150.0, 500.0, 800.0
CONTRAST, NOISE = 40.0, 15.0  # of the texture; of the images
PARTIAL = 0.25  # voxels: width of borders, whose voxels hold both sides in part
LARGEST = 1.2  # voxels: displacements of a larger rms would fold


def ribbon_phantom(
    seed: int = 0, voxels: int = 64, spacing: float = 2.0, dimension: int = 3, amplitude: float = 1.0, count: int = 400
) -> PhantomPair:
    """Return two images of a body whose folds reach deep inside, with grey ribbons two voxels thick.

    The images are cubes (2-D: squares) of `voxels` voxels of `spacing` mm along each edge, centred on the origin. More
    voxels show a larger body with more folds. The displacement is a sum of waves of 8 to 40 voxels, with an rms of
    `amplitude` voxels for each coordinate. The masks hold the body; `count` landmarks lie in the fixed one.
    Raises `UsageError` for fewer than 16 voxels and for an amplitude above 1.2 voxels, which would fold.
    """
    if voxels < 16:
        raise UsageError(f"voxels: expected at least 16, got {voxels}")
    if not 0 <= amplitude <= LARGEST:
        raise UsageError(f"amplitude: expected 0 to {LARGEST:g} voxels, got {amplitude:g}")
    generator = torch.Generator().manual_seed(seed)
    grid = Grid.from_spacing((voxels,) * dimension, (spacing,) * dimension, [-0.5 * spacing * (voxels - 1)] * dimension)
    half_axes = voxels * spacing * torch.tensor(HALF_AXES[:dimension], dtype=torch.float64)
    depth = _depth(half_axes, spacing, generator)
    texture = PlaneWaves.random(30, 1, dimension, _scaled(TEXTURES, spacing), generator)
    window = Window(torch.zeros(dimension, dtype=torch.float64), half_axes + 4 * spacing, 0.1)
    waves = PlaneWaves.random(60, dimension, dimension, _scaled(MOTION, spacing), generator)
    transform = WaveMotion(waves, window, amplitude * spacing)

    def intensity(points: Tensor) -> Tensor:
        inner, values = depth(points), torch.full(points.shape[:-1], DARK, dtype=torch.float32)
        white = WHITE + CONTRAST * texture(points)[..., 0]
        for border, value in ((-FLUID_DEPTH, FLUID), (0.0, GREY), (THICKNESS, white)):
            values = values + torch.sigmoid((inner / spacing - border) / PARTIAL) * (value - values)
        return values

    moving = render(grid, intensity, NOISE, generator, "moving")
    fixed = render(grid, lambda points: intensity(transform(points)), NOISE, generator, "fixed")
    body = [render_mask(grid, lambda points: _inside(points, half_axes), "moving mask")]
    body.append(render_mask(grid, lambda points: _inside(transform(points), half_axes), "fixed mask"))
    landmarks = landmarks_in(body[1], transform, count, generator)
    return PhantomPair(fixed, moving, body[1], body[0], transform, landmarks)


def _scaled(lengths: tuple[float, float], spacing: float) -> tuple[float, float]:
    return lengths[0] * spacing, lengths[1] * spacing


def _inside(points: Tensor, half_axes: Tensor) -> Tensor:
    return (points / half_axes.to(points)).norm(dim=-1) < 1


def _depth(half_axes: Tensor, spacing: float, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Return the approximate depth of points below the nearest surface, of the body or of a fold, mm; negative outside.

    Folds are the sheets where a smooth random function is 0: its magnitude over its rms slope is about the distance.
    """
    folds = PlaneWaves.random(60, 1, len(half_axes), _scaled(FOLDS, spacing), generator)
    # A mean of squares over all waves of a function of rms 1, half of it along the direction of steepest ascent.
    slope = float(((folds.sines**2 + folds.cosines**2)[:, 0] * (folds.vectors**2).sum(dim=1)).sum() / 2) ** 0.5

    def depth(points: Tensor) -> Tensor:
        below_body = float(half_axes.mean()) * (1 - (points / half_axes.to(points)).norm(dim=-1))
        below_fold = folds(points)[..., 0].abs() / slope - FLUID_DEPTH * spacing
        return torch.minimum(below_body, below_fold)

    return depth
