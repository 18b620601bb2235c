"""Planes of pictures: orthogonal to the world axes, whatever the direction of the voxel axes."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nephi.geometry import Grid

ENDS = (("L", "R"), ("P", "A"), ("I", "S"))  # letters of the low and the high end of each world axis (RAS)
FINEST = 8  # pixels along a voxel at most: a crop of few voxels is drawn large, and with thin grid lines
BLOCK = 8  # picture sizes are multiples of this: then no JPEG block of a sprite sheet covers two pictures


@dataclass(frozen=True)
class View:
    """Orientation of a picture: `right` and `down` are world axes (RAS) that run from their high to their low end.

    This is the radiological orientation: the patient's right is at the left of the picture. Positions of planes are
    coordinates along the world axis `normal`; a 2-D image has one plane and no normal.
    """

    name: str
    right: int
    down: int
    normal: int | None

    @property
    def edges(self) -> dict[str, str]:
        """The anatomical direction of each edge of the picture: R, L, A, P, S or I."""
        (right, left), (bottom, top) = ENDS[self.right], ENDS[self.down]
        return {"left": left, "right": right, "top": top, "bottom": bottom}


VIEWS_3D = (View("axial", 0, 1, 2), View("coronal", 0, 2, 1), View("sagittal", 1, 2, 0))
VIEWS_2D = (View("plane", 0, 1, None),)


@dataclass(frozen=True, eq=False)
class Planes:
    """Parallel planes of one view, as pictures of `height` x `width` square pixels of `pixel` mm.

    `first` `(D,)` is the world position of the first pixel's centre; its coordinate along the normal is replaced by
    the plane's entry in `positions`.
    """

    view: View
    positions: tuple[float, ...]
    pixel: float
    width: int
    height: int
    first: Tensor

    def points(self, index: int) -> Tensor:
        """Return the world position (mm, RAS) of every pixel of plane `index`, `(height, width, D)` float32."""
        points = self.first.repeat(self.height, self.width, 1)
        points[..., self.view.right] -= self.pixel * torch.arange(self.width, dtype=torch.float64)
        points[..., self.view.down] -= self.pixel * torch.arange(self.height, dtype=torch.float64)[:, None]
        if self.view.normal is not None:
            points[..., self.view.normal] = self.positions[index]
        return points.float()

    def pixels(self, points_world: Tensor) -> Tensor:
        """Return column and row `(..., 2)`, unrounded, of world points `(..., D)` projected onto the picture."""
        axes = [self.view.right, self.view.down]
        return (self.first[axes].to(points_world) - points_world[..., axes]) / self.pixel

    def nearest(self, points_world: Tensor) -> Tensor:
        """Return the index of the plane nearest to each world point `(..., D)`."""
        if self.view.normal is None:
            return torch.zeros(points_world.shape[:-1], dtype=torch.int64)
        height = points_world[..., self.view.normal, None]
        return (height - torch.tensor(self.positions, dtype=torch.float64, device=height.device)).abs().argmin(dim=-1)


def planes_of(grid: Grid, side: int, count: int) -> list[Planes]:
    """Return axial, coronal and sagittal planes (2-D: the only plane) that cover all of `grid`.

    The longest edge of the grid's world box has `side` pixels, or fewer so that a voxel has at most `FINEST` of them
    along its shortest edge. Each view has `count` evenly spaced planes, or fewer so that they are no closer than
    voxels.
    """
    low, high = _world_box(grid)
    finest = float(grid.spacing.min())
    pixel = max(float((high - low).max()) / side, finest / FINEST)
    views = VIEWS_2D if grid.dimension == 2 else VIEWS_3D
    return [_planes_of_view(view, low, high, pixel, finest, count) for view in views]


def plane_through(grid: Grid, side: int, position: Tensor) -> list[Planes]:
    """Return for each view the plane through a world position `(D,)`; sizes as in `planes_of`."""
    views = planes_of(grid, side, 1)
    return [p if p.view.normal is None else replace(p, positions=(float(position[p.view.normal]),)) for p in views]


def _world_box(grid: Grid) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest world coordinates of the grid, borders of voxels included."""
    ends = torch.tensor(list(itertools.product(*[(-0.5, n - 0.5) for n in grid.shape])), dtype=torch.float64)
    corners = grid.voxel_to_world_points(ends)
    return corners.amin(dim=0), corners.amax(dim=0)


def _planes_of_view(view: View, low: Tensor, high: Tensor, pixel: float, finest: float, count: int) -> Planes:
    extent = high - low
    width, height = (BLOCK * math.ceil(float(extent[a]) / pixel / BLOCK - 1e-6) for a in (view.right, view.down))
    first = (low + high) / 2
    first[view.right] += pixel * (width - 1) / 2
    first[view.down] += pixel * (height - 1) / 2
    positions: tuple[float, ...] = (0.0,)
    if view.normal is not None:
        number = min(count, max(1, round(float(extent[view.normal]) / finest)))
        step = float(extent[view.normal]) / number
        positions = tuple(float(low[view.normal]) + step * (i + 0.5) for i in range(number))
    return Planes(view, positions, pixel, width, height, first)
