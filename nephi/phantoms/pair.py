"""A synthetic image pair, and the sampling of continuous images, masks and landmarks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import Grid, PointPairs
from nephi.images import Image
from nephi.transforms import Transform


@dataclass(frozen=True, eq=False)
class PhantomPair:
    """Two images and the true deformation between them, `fixed(x) = moving(transform(x))` up to noise and density.

    `transform` maps fixed to moving points (world mm, RAS) in closed form. The masks (uint8, 1 inside, on the grid
    of their image) mark the region of interest; `landmarks` are random points inside the fixed mask with their exact
    positions in the moving image.
    """

    fixed: Image
    moving: Image
    fixed_mask: Image
    moving_mask: Image
    transform: Transform
    landmarks: PointPairs


@torch.no_grad()
def render(
    grid: Grid, intensity: Callable[[Tensor], Tensor], noise: float, generator: torch.Generator, name: str
) -> Image:
    """Return an int16 image of `intensity` at the voxel centres, plus Gaussian noise of standard deviation `noise`.

    `intensity` maps world points `(N, D)`, mm, float32, to values `(N,)`. It is evaluated slab by slab.
    """
    data = torch.empty(grid.shape, dtype=torch.int16)
    for start, stop in grid.slabs():
        points = grid.voxel_centres(start, stop)
        values = intensity(points.reshape(-1, grid.dimension)).reshape(points.shape[:-1])
        values = values + noise * torch.randn(values.shape, generator=generator, dtype=torch.float32)
        data[..., start:stop] = values.round().clamp(-32768, 32767).to(torch.int16)
    return Image(data, grid, name=name)


@torch.no_grad()
def render_mask(grid: Grid, inside: Callable[[Tensor], Tensor], name: str) -> Image:
    """Return a uint8 image that is 1 where `inside`, evaluated at voxel centres `(N, D)` (world mm), is true."""
    data = torch.empty(grid.shape, dtype=torch.uint8)
    for start, stop in grid.slabs():
        points = grid.voxel_centres(start, stop)
        data[..., start:stop] = inside(points.reshape(-1, grid.dimension)).reshape(points.shape[:-1])
    return Image(data, grid, name=name)


@torch.no_grad()
def landmarks_in(mask: Image, transform: Transform, count: int, generator: torch.Generator) -> PointPairs:
    """Return `count` points drawn uniformly from the voxels of a mask, off their centres, and their transformed points.

    Raises `DataError` for an empty mask.
    """
    voxels = mask.data.nonzero()
    if len(voxels) == 0:
        raise DataError(f"{mask.name}: expected a mask with voxels inside, found none")
    centres = voxels[torch.randint(len(voxels), (count,), generator=generator)]
    jitter = torch.rand(centres.shape, generator=generator, dtype=torch.float64) - 0.5
    fixed = mask.grid.voxel_to_world_points(centres + jitter)
    return PointPairs.from_coordinates(fixed, transform(fixed))
