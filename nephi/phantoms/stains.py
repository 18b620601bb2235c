"""2-D pairs of neighbouring tissue sections in two stains: the same shapes in other grey values, turned and torn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.phantoms.grids import field_of_view, rotation
from nephi.phantoms.motion import WaveMotion, Window
from nephi.phantoms.pair import PhantomPair, landmarks_in, render, render_mask
from nephi.phantoms.waves import PlaneWaves
from nephi.transforms import AffineTransform, Composite

# World millimetres. A section is about 100 mm across, as if seen at a low magnification.
RADIUS = 50.0  # mean distance of the rim from the centre
LOBES = ((1, 0.10), (2, 0.20), (3, 0.12), (5, 0.05))  # waves around the rim, and their amplitude, fractions of RADIUS
REGIONS = 7
CORTEX = 9.0  # thickness of the outermost tissue
TISSUES = 5  # cortex, ground, and three kinds of regions
GREY_LEVELS = (150.0, 300.0, 450.0, 600.0, 750.0)  # of tissues, in another random order in each stain
BACKGROUNDS = (950.0, 880.0)  # slide without tissue, in each stain
CELLS = (2.0, 5.0)  # wavelengths of the texture
CELL_CONTRAST = 60.0
TEAR = (3.0, 7.0)  # half-widths at the rim
WAVELENGTHS = (40.0, 120.0)  # wavelengths of the distortion by the knife
EDGE = 0.7
CANVASES = (150.0, 138.0), (176.0, 150.0)  # extents of the images
LANDMARKS = 200


@dataclass(frozen=True, eq=False)
class Section:
    """Shapes of a section: a lobed outline with a cortex and elliptic regions of several tissues, later ones on top."""

    phases: Tensor
    centres: Tensor
    half_axes: Tensor
    axes: Tensor

    @classmethod
    def random(cls, generator: torch.Generator) -> Section:
        """Draw the outline, and regions that are spread over the section."""
        phases = 2 * math.pi * torch.rand(len(LOBES), generator=generator, dtype=torch.float32)
        numbers = torch.arange(REGIONS, dtype=torch.float32)
        jitter = torch.rand(REGIONS, 2, generator=generator, dtype=torch.float32)
        angles = 2 * math.pi * (numbers + 0.7 * jitter[:, 0]) * (math.sqrt(5) - 1) / 2
        distances = 0.65 * RADIUS * ((numbers + jitter[:, 1]) / REGIONS).sqrt()
        centres = distances[:, None] * torch.stack([angles.cos(), angles.sin()], dim=1)
        half_axes = 5 + 11 * torch.rand(REGIONS, 2, generator=generator, dtype=torch.float32)
        turns = math.pi * torch.rand(REGIONS, generator=generator, dtype=torch.float32)
        axes = torch.stack([turns.cos(), turns.sin(), -turns.sin(), turns.cos()], dim=1).view(-1, 2, 2)
        return cls(phases, centres, half_axes, axes)

    def depth(self, points: Tensor) -> Tensor:
        """Return the approximate depth below the rim in mm at points `(..., 2)`; negative outside."""
        angle = torch.atan2(points[..., 1], points[..., 0])
        waves = [size * torch.cos(n * angle + p) for (n, size), p in zip(LOBES, self.phases, strict=True)]
        return RADIUS * (1 + torch.stack(waves).sum(dim=0)) - points.norm(dim=-1)

    def intensities(self, points: Tensor, levels: Tensor) -> Tensor:
        """Return the grey value `(N,)` of the tissues at points `(N, 2)`; `levels` has one of each tissue."""
        values = _covered(levels[1].expand(len(points)), levels[0], CORTEX - self.depth(points))
        local = torch.einsum("rij,nrj->nri", self.axes, points[:, None] - self.centres) / self.half_axes
        depths = (1 - local.norm(dim=-1)) * self.half_axes.amin(dim=-1)
        for region in range(REGIONS):
            values = _covered(values, levels[2 + region % (TISSUES - 2)], depths[:, region])
        return values


def _covered(values: Tensor, level: Tensor | float, depth: Tensor) -> Tensor:
    return values + torch.sigmoid(depth / (0.5 * EDGE)) * (level - values)


@dataclass(frozen=True, eq=False)
class Stain:
    """What differs between two images of a section: grey values, slide, cells (another plane of the tissue), a tear.

    The tear is a wedge without tissue, from the rim at `tear_angle` to half of the radius.
    """

    levels: Tensor
    background: float
    cells: PlaneWaves
    tear_angle: float
    tear_width: float

    @classmethod
    def random(cls, levels: Tensor, background: float, generator: torch.Generator) -> Stain:
        """Draw cells and tear."""
        cells = PlaneWaves.random(40, 1, 2, CELLS, generator)
        angle, width = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        return cls(levels, background, cells, 2 * math.pi * angle, TEAR[0] + (TEAR[1] - TEAR[0]) * width)

    def __call__(self, section: Section, points: Tensor) -> Tensor:
        """Return the grey value `(N,)` at points `(N, 2)` of a section."""
        cells = CELL_CONTRAST * self.cells(points)[:, 0].clamp(-2, 2)
        tissue = section.intensities(points, self.levels) + cells
        return self.background + torch.sigmoid(self.depth(section, points) / (0.5 * EDGE)) * (tissue - self.background)

    def depth(self, section: Section, points: Tensor) -> Tensor:
        """Return the approximate depth in mm of points `(..., 2)` in the tissue; negative outside and in the tear."""
        return torch.minimum(section.depth(points), -self.tear_depth(points))

    def tear_depth(self, points: Tensor) -> Tensor:
        """Return the approximate depth in mm of points `(..., 2)` in the tear."""
        along = points[..., 0] * math.cos(self.tear_angle) + points[..., 1] * math.sin(self.tear_angle)
        across = points[..., 1] * math.cos(self.tear_angle) - points[..., 0] * math.sin(self.tear_angle)
        return self.tear_width * (2 * along / RADIUS - 1) - across.abs()


def stains_phantom(
    seed: int = 0,
    angle: float = 90.0,
    motion: float = 3.0,
    *,
    noise: float = 10.0,
    shape: tuple[int, int] = (150, 138),
) -> PhantomPair:
    """Return a pair of sections in two stains (int16, grey values up to about 1000) with a known transform.

    Both images show the same shapes. Each tissue has its own grey value in each of them, in an independent order, so
    that no function of the intensities maps dark to dark; cells, a tear, noise, canvas and pixels differ as well. The
    moving section is turned by `angle` degrees and lies elsewhere on its slide. The masks are the tissue without tears.

    Parameters
    ----------
    seed
        Seed of shapes, grey values, cells, tears, motion, direction of the turn, landmarks and noise.
    angle
        Rotation of the moving section, degrees.
    motion
        Largest smooth displacement before the rotation, mm (to 1 %).
    noise
        Standard deviation of the Gaussian noise, independent in the two images.
    shape
        Pixels of the fixed image, of about 1 mm; the moving image has pixels of 1.1 times that size.

    Raises
    ------
    UsageError
        When a number is out of range.
    """
    if motion <= 0:
        raise UsageError(f"motion: expected a positive number of mm, got {motion:g}")
    if noise < 0:
        raise UsageError(f"noise: expected a number of 0 or more, got {noise:g}")
    if not abs(angle) <= 360:
        raise UsageError(f"angle: expected -360 to 360 degrees, got {angle:g}")
    generator = torch.Generator().manual_seed(seed)
    section = Section.random(generator)
    stains = _stains(generator)
    distortion, turn = _distortion(motion, generator), _turn(angle, generator)
    unturned = turn.inverse()
    transform = Composite([distortion, turn])
    fixed_grid = field_of_view(shape, CANVASES[0], (2.0, -3.0), torch.eye(2, dtype=torch.float64))
    moving_grid = _moving_grid(shape, turn)
    fixed_mask = render_mask(fixed_grid, lambda p: stains[0].depth(section, distortion(p)) > 0, "fixed tissue")
    return PhantomPair(
        fixed=render(fixed_grid, lambda p: stains[0](section, distortion(p)), noise, generator, "fixed stain"),
        moving=render(moving_grid, lambda p: stains[1](section, unturned(p)), noise, generator, "moving stain"),
        fixed_mask=fixed_mask,
        moving_mask=render_mask(moving_grid, lambda p: stains[1].depth(section, unturned(p)) > 0, "moving tissue"),
        transform=transform,
        landmarks=landmarks_in(fixed_mask, transform, LANDMARKS, generator),
    )


def _stains(generator: torch.Generator) -> list[Stain]:
    """Draw two stains; no two tissues keep their order of grey values in all pairs."""
    levels = torch.tensor(GREY_LEVELS, dtype=torch.float32)
    orders = [torch.randperm(TISSUES, generator=generator) for _ in BACKGROUNDS]
    return [Stain.random(levels[order], b, generator) for order, b in zip(orders, BACKGROUNDS, strict=True)]


def _distortion(motion: float, generator: torch.Generator) -> WaveMotion:
    """Return waves with a largest displacement of about `motion` mm in the section."""
    waves = PlaneWaves.random(6, 2, 2, WAVELENGTHS, generator)
    window = Window(torch.zeros(2, dtype=torch.float32), torch.full((2,), 1.6 * RADIUS, dtype=torch.float32), 0.35)
    probes = field_of_view((64, 64), (2 * RADIUS, 2 * RADIUS), (0.0, 0.0), torch.eye(2, dtype=torch.float64))
    points = probes.voxel_centres()
    largest = float((WaveMotion(waves, window, 1.0)(points) - points).norm(dim=-1).max())
    return WaveMotion(waves, window, motion / largest)


def _turn(angle: float, generator: torch.Generator) -> AffineTransform:
    """Return the rotation by `angle` degrees in a random direction, and a random shift of up to 10 mm an axis."""
    sign = 1 if float(torch.rand(1, generator=generator, dtype=torch.float64)) < 0.5 else -1
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[:2, :2] = rotation(sign * math.radians(angle))
    matrix[:2, 2] = 20 * torch.rand(2, generator=generator, dtype=torch.float64) - 10
    return AffineTransform(matrix)


def _moving_grid(shape: tuple[int, int], turn: AffineTransform) -> Grid:
    """Return a larger canvas, with larger pixels, around the turned section, which lies off its centre."""
    counts = tuple(round(n * new / old / 1.1) for n, old, new in zip(shape, *CANVASES, strict=True))
    centre = (turn.matrix[:2, 2] + torch.tensor([14.0, -6.0], dtype=torch.float64)).tolist()
    return field_of_view(counts, CANVASES[1], centre, torch.eye(2, dtype=torch.float64))
