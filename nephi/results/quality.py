"""Measures of how well two images match after a registration and before it, at sampled points."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from nephi.geometry import Grid, determinant
from nephi.images import ImageSampler
from nephi.losses import nmi, similarity
from nephi.metrics import (
    Lengths,
    StructuredPatches,
    SurfaceDistance,
    foreground,
    inside_mask,
    is_folded,
    local_displacements,
    surface_distances,
    thinned,
)
from nephi.preparation import Pair
from nephi.sampling import patch_offsets, point_source
from nephi.settings import Settings
from nephi.transforms import AffineTransform, Transform

POINTS = 4000  # of displacement, Jacobian and similarity
LATTICE = {2: 10_000, 3: 30_000}  # points of masks, by dimension


@dataclass(frozen=True)
class Measures:
    """Agreement of two images under one map; NaN for what cannot be measured.

    similarity: the loss of the fit, on the images of its finest level; lower is better.
    matched: the fraction of the structures whose counterpart is the best one nearby, bright or dark: patches with
        structure of the fixed mask, of which `patches` lie inside the moving image.
    correlation: mean squared correlation of these patches with their counterparts, 0 to 1.
    information: mutual information of the intensities over their joint entropy, 0 for unrelated images.
    outside: fraction of the fixed mask (without one: of the image) that the map carries out of the moving image.
    dice, surface_mm, surface_p95_mm: overlap and surface distance of the masks, or of the foregrounds.
    """

    similarity: float
    matched: float
    patches: int
    correlation: float
    information: float
    outside: float
    dice: float
    surface_mm: float
    surface_p95_mm: float


@dataclass(frozen=True)
class JacobianRange:
    """The 1st and 99th percentile of the determinant at sampled points, the smallest, and the percentage of folds."""

    p1: float
    p99: float
    smallest: float
    folding_percent: float


@dataclass(frozen=True)
class Measured:
    """All measures of a registration: the images as their headers place them (`before`), and under the transform.

    `similarity` names the loss, `region` what dice and surfaces are of: `masks` or `foreground`. `displacement` is that
    of the fixed mask, `local_displacement` what an affine map leaves of it, mm.
    """

    similarity: str
    region: str
    before: Measures
    after: Measures
    displacement: Lengths
    local_displacement: Lengths
    jacobian: JacobianRange

    def table(self) -> dict[str, Any]:
        """Return the measures as nested dictionaries for JSON; None for what could not be measured."""
        return _without_nan(asdict(self))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    return None if isinstance(value, float) and value != value else value


@torch.no_grad()
def measure_pair(pair: Pair, transform: Transform, settings: Settings, seed: int) -> Measured:
    """Measure a registration by `transform`, fixed to moving points, at random points; lengths of `settings` in mm.

    The cost hardly depends on the size of the images.
    """
    generator = torch.Generator().manual_seed(seed)
    source = point_source(pair.fixed, pair.fixed_mask)
    points = source.draw(POINTS, generator)
    spacing = max(settings.levels[-1].spacing, *(_edge(image.grid) for image in (pair.fixed, pair.moving)))
    samplers = [levels.sampler(spacing / 2, spacing) for levels in (pair.fixed_levels, pair.moving_levels)]
    patches = StructuredPatches(samplers[0], source, spacing, generator)
    regions = _Regions(pair)
    compared = _Compared(pair, settings, points)
    identity = AffineTransform.identity(pair.fixed.dimension)
    before, after = (_measures(patches, samplers[1], regions, compared, each) for each in (identity, transform))
    mapped, jacobians = transform.value_and_jacobian(points)
    determinants = transform.unfolded_sign * determinant(jacobians).double()
    return Measured(
        similarity=compared.name,
        region=regions.kind,
        before=before,
        after=after,
        displacement=Lengths.of(mapped - points),
        local_displacement=Lengths.of(local_displacements(points, mapped)),
        jacobian=JacobianRange(
            float(determinants.quantile(0.01)),
            float(determinants.quantile(0.99)),
            float(determinants.min()),
            100 * float(is_folded(determinants).double().mean()),
        ),
    )


def _edge(grid: Grid) -> float:
    """Return the edge, mm, of a cube with the volume of a voxel: finer structures are not seen."""
    return float(grid.spacing.log().mean().exp())


def _measures(
    patches: StructuredPatches, moving: ImageSampler, regions: _Regions, compared: _Compared, transform: Transform
) -> Measures:
    correspondence, (dice, surfaces) = patches.under(transform, moving), regions.under(transform)
    loss, information, outside = compared.under(transform)
    return Measures(
        loss,
        correspondence.matched,
        correspondence.patches,
        correspondence.correlation,
        information,
        outside,
        dice,
        surfaces.mean,
        surfaces.p95,
    )


class _Compared:
    """Intensities of the fixed image at points, to be compared with the moving image under several transforms."""

    def __init__(self, pair: Pair, settings: Settings, points: Tensor) -> None:
        level, objective = settings.levels[-1], settings.objective
        # The loss of matched intensities is that of another image at each step; mutual information needs no matching.
        self.name = "nmi" if settings.optimization.match_intensities else objective.similarity
        self.loss = similarity(self.name, objective.variance_floor)
        self.points = points
        self.offsets = patch_offsets(pair.fixed.dimension, max(1, objective.radius), level.spacing)
        levels = pair.fixed_levels, pair.moving_levels
        fixed, self.moving = (each.sampler(level.smoothing, level.spacing) for each in levels)
        self.values = fixed.patches(points, self.offsets)

    def under(self, transform: Transform) -> tuple[float, float, float]:
        """Return the loss, the information, and the fraction of points outside the moving image."""
        mapped, jacobians = (result.float().contiguous() for result in transform.value_and_jacobian(self.points))
        inside = self.moving.contains(mapped).float()
        outside = 1 - float(inside.mean())
        if outside == 1:
            return float("nan"), 0.0, outside
        values = self.moving.patches(mapped, self.offsets, jacobians)
        loss = float(self.loss(self.values, values, inside))
        fixed, moving = (each.mean(dim=1, keepdim=True) for each in (self.values, values))
        return loss, max(0.0, 1 - float(nmi(fixed, moving, inside))), outside


class _Regions:
    """Masks of both images, or their foregrounds, on a lattice of the fixed image."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.grid = thinned(pair.fixed.grid, LATTICE[pair.fixed.dimension])
        self.points = self.grid.voxel_centres()
        self.kind = "foreground" if pair.fixed_mask is None or pair.moving_mask is None else "masks"
        self.moving = ImageSampler(pair.moving, pair.moving_window)
        if self.kind == "foreground":
            values = ImageSampler(pair.fixed, pair.fixed_window)(self.points)
            self.fixed_region = foreground(values, values)
            lattice = thinned(pair.moving.grid, LATTICE[pair.moving.dimension])
            self.reference = self.moving(lattice.voxel_centres())
        elif pair.fixed_mask is not None:
            self.fixed_region = inside_mask(pair.fixed_mask, self.points)

    def under(self, transform: Transform) -> tuple[float, SurfaceDistance]:
        """Return Dice and surface distance of the regions, where the moving image shows something."""
        mapped = transform(self.points)
        inside = self.moving.contains(mapped)
        if self.kind == "foreground" or self.pair.moving_mask is None:
            region = foreground(self.moving(mapped), self.reference)
        else:
            region = inside_mask(self.pair.moving_mask, mapped)
        first, second = self.fixed_region & inside, region & inside
        total = int(first.sum()) + int(second.sum())
        dice = 2 * int((first & second).sum()) / total if total else float("nan")
        return dice, surface_distances(first.to(torch.uint8), second.to(torch.uint8), self.grid, [1])[1]
