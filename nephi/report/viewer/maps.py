"""Maps of a deformation for the viewer, with colours: Jacobian determinant, and lengths of the displacement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nephi.geometry import Grid, determinant
from nephi.images import Image
from nephi.metrics import is_folded, local_displacements
from nephi.report.colours import CHANGE, FOLD, LENGTHS, ChangeScale, interpolate_colours
from nephi.transforms import Transform

POINTS = 1_000_000  # largest size of a map: computed in a second or two, and fine enough for smooth deformations
ENTRIES = 256  # of NiiVue's colour tables
FOLD_ENTRIES = 16  # at the lower end of the table, in the colour of folds


@dataclass(frozen=True, eq=False)
class ColourMap:
    """A map and its colours: `colours` `(256, 3)` from value `low` to value `high`; `marks` are evenly spaced labels.

    `bare` is the fraction of the colours, at the lower end, without labels: folds.
    """

    image: Image
    colours: NDArray[np.uint8]
    low: float
    high: float
    marks: list[str]
    bare: float = 0.0

    def table(self) -> dict[str, Any]:
        """Return everything but the voxels, as a dictionary for JSON."""
        return {
            "low": self.low,
            "high": self.high,
            "marks": self.marks,
            "bare": self.bare,
            "colours": self.colours.tolist(),
        }


@torch.no_grad()
def deformation_maps(transform: Transform, fixed_grid: Grid, handedness: int = 1) -> dict[str, ColourMap]:
    """Compute the maps `jacobian`, `displacement` and `local` on the fixed grid, downsampled to about `POINTS`.

    jacobian: log det J, clamped to the scale, and below its lower end where det J <= 0; displacement: |phi(x) - x|, mm;
    local: the same without the global map, the affine one that fits best over the grid (`local_displacements`).
    A `handedness` of -1 states that the transform reflects: det J is that relative to a reflection.
    """
    grid = map_grid(fixed_grid, POINTS)
    determinants, centres, mapped = [], [], []
    for start, stop in grid.slabs():
        points = grid.voxel_centres(start, stop)
        displaced, jacobian = transform.value_and_jacobian(points)
        determinants.append(handedness * determinant(jacobian))
        centres.append(points)
        mapped.append(displaced)
    points, displaced = torch.cat(centres, dim=-2), torch.cat(mapped, dim=-2)
    local = local_displacements(points.flatten(0, -2), displaced.flatten(0, -2)).norm(dim=-1).reshape(grid.shape)
    return {
        "jacobian": _jacobian_map(torch.cat(determinants, dim=-1), grid),
        "displacement": _displacement_map((displaced - points).norm(dim=-1), grid),
        "local": _displacement_map(local.float(), grid),
    }


def map_grid(grid: Grid, max_voxels: int) -> Grid:
    """Return a grid that covers the same box with at most `max_voxels` voxels, none smaller than those of `grid`."""
    pixel = float(grid.spacing.min())
    extent = (grid.spacing * torch.tensor(grid.shape, dtype=torch.int64)).tolist()
    while True:
        shape = [min(n, max(1, math.ceil(e / pixel - 1e-6))) for n, e in zip(grid.shape, extent, strict=True)]
        if math.prod(shape) <= max_voxels:
            break
        pixel *= 1.02
    factors = torch.tensor(grid.shape, dtype=torch.float64) / torch.tensor(shape, dtype=torch.float64)
    affine = grid.affine.clone()
    affine[:-1, :-1] *= factors
    # The box starts half a voxel before the first voxel's centre.
    affine[:-1, -1] = grid.voxel_to_world_points(factors / 2 - 0.5)
    return Grid(tuple(shape), affine)


def _jacobian_map(determinants: torch.Tensor, grid: Grid) -> ColourMap:
    scale = ChangeScale.for_determinants(determinants.numpy())
    limit = math.log(scale.limit)
    entry = 2 * limit / (ENTRIES - FOLD_ENTRIES)
    low = -limit - entry * FOLD_ENTRIES
    # NiiVue interpolates colours: 1.5 entries above those of folds keep the strongest compression free of their colour.
    logs = determinants.clamp(min=1e-9).log().clamp(-limit + 1.5 * entry, limit)
    logs[is_folded(determinants)] = low
    colours = np.empty((ENTRIES, 3), np.uint8)
    colours[:FOLD_ENTRIES] = FOLD
    colours[FOLD_ENTRIES:] = interpolate_colours(np.linspace(0, 1, ENTRIES - FOLD_ENTRIES), CHANGE)
    marks = [f"{scale.limit**power:.2g}" for power in (-1, -0.5, 0, 0.5, 1)]
    image = Image(logs, grid, name="logarithm of the Jacobian determinant")
    return ColourMap(image, colours, low, limit, marks, FOLD_ENTRIES / ENTRIES)


def _displacement_map(lengths: torch.Tensor, grid: Grid) -> ColourMap:
    low, high = np.quantile(lengths.numpy(), (0.005, 0.995)).tolist()
    if low < high / 2:  # start at 0, unless a shift common to all points would take up most of the scale
        low = 0.0
    high = max(high, low + 1e-3)
    marks = [f"{mark:.1f}" for mark in np.linspace(low, high, 5)]
    return ColourMap(
        Image(lengths, grid, name="length of displacement"),
        interpolate_colours(np.linspace(0, 1, ENTRIES), LENGTHS),
        low,
        high,
        marks,
    )
