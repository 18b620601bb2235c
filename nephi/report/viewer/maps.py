"""Maps of a deformation for the viewer: volume change and length of displacement, with their colours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nephi.geometry import Grid, determinant
from nephi.images import Image
from nephi.report.colours import CHANGE, FOLD, LENGTHS, ChangeScale, colours_of
from nephi.transforms import Transform

POINTS = 1_000_000  # of a map at the most: that many take a second or two, and look as sharp as the deformation is
ENTRIES = 256  # of NiiVue's colour tables
FOLD_ENTRIES = 16  # at the lower end: folds join the strongest compression, so nothing lies between them but a fold


@dataclass(frozen=True, eq=False)
class ColourMap:
    """A map and its colours: `colours` `(256, 3)` from value `low` to value `high`; `marks` label them evenly.

    `bare` is the share of the colours, at the lower end, that the labels do not cover: folds.
    """

    image: Image
    colours: NDArray[np.uint8]
    low: float
    high: float
    marks: list[str]
    bare: float = 0.0

    def table(self) -> dict[str, Any]:
        """Return all but the voxels, for JSON."""
        return {
            "low": self.low,
            "high": self.high,
            "marks": self.marks,
            "bare": self.bare,
            "colours": self.colours.tolist(),
        }


@torch.no_grad()
def deformation_maps(transform: Transform, fixed_grid: Grid) -> dict[str, ColourMap]:
    """Return maps `jacobian` and `displacement` on the fixed grid, thinned to `POINTS` where it is larger.

    jacobian holds log det J, bounded by the ends of its scale, and below them where det J <= 0; displacement holds
    |phi(x) - x| in mm.
    """
    grid = map_grid(fixed_grid, POINTS)
    determinants, lengths = [], []
    for start, stop in grid.slabs():
        points = grid.voxel_centres(start, stop)
        moved, jacobian = transform.value_and_jacobian(points)
        determinants.append(determinant(jacobian))
        lengths.append((moved - points).norm(dim=-1))
    return {
        "jacobian": _volume_change(torch.cat(determinants, dim=-1), grid),
        "displacement": _lengths(torch.cat(lengths, dim=-1), grid),
    }


def map_grid(grid: Grid, most: int) -> Grid:
    """Return a grid over the same box with no more than about `most` voxels, and none smaller than the grid's own."""
    pixel = float(grid.spacing.min())
    extent = (grid.spacing * torch.tensor(grid.shape, dtype=torch.int64)).tolist()
    while True:
        shape = [min(n, max(1, math.ceil(e / pixel - 1e-6))) for n, e in zip(grid.shape, extent, strict=True)]
        if math.prod(shape) <= most:
            break
        pixel *= 1.02
    factors = torch.tensor(grid.shape, dtype=torch.float64) / torch.tensor(shape, dtype=torch.float64)
    affine = grid.affine.clone()
    affine[:-1, :-1] *= factors
    affine[:-1, -1] = grid.voxel_to_world_points(factors / 2 - 0.5)  # the box begins half a voxel before the first
    return Grid(tuple(shape), affine)


def _volume_change(determinants: torch.Tensor, grid: Grid) -> ColourMap:
    scale = ChangeScale.for_determinants(determinants.numpy())
    reach = math.log(scale.reach)
    entry = 2 * reach / (ENTRIES - FOLD_ENTRIES)
    below = entry * FOLD_ENTRIES
    # Colour tables are interpolated: one entry and a half away from the folds' colour nothing of it is left.
    logs = determinants.clamp(min=1e-9).log().clamp(-reach + 1.5 * entry, reach)
    logs[determinants <= 0] = -reach - below
    colours = np.empty((ENTRIES, 3), np.uint8)
    colours[:FOLD_ENTRIES] = FOLD
    colours[FOLD_ENTRIES:] = colours_of(np.linspace(0, 1, ENTRIES - FOLD_ENTRIES), CHANGE)
    marks = [f"{scale.reach**power:.2g}" for power in (-1, -0.5, 0, 0.5, 1)]
    image = Image(logs, grid, name="logarithm of the Jacobian determinant")
    return ColourMap(image, colours, -reach - below, reach, marks, FOLD_ENTRIES / ENTRIES)


def _lengths(lengths: torch.Tensor, grid: Grid) -> ColourMap:
    low, high = np.quantile(lengths.numpy(), (0.005, 0.995)).tolist()
    if low < high / 2:  # a scale from 0 tells more; but a shift that all points share would take up all of it
        low = 0.0
    high = max(high, low + 1e-3)
    marks = [f"{mark:.1f}" for mark in np.linspace(low, high, 5)]
    return ColourMap(
        Image(lengths, grid, name="length of displacement"),
        colours_of(np.linspace(0, 1, ENTRIES), LENGTHS),
        low,
        high,
        marks,
    )
