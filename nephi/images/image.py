"""An image: an array of voxels, and the grid that places them in the world."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import Grid


class Foreground(NamedTuple):
    """Voxels `low` (included) to `high` (not) along each axis hold all that are above 0, `voxels` of them."""

    low: tuple[int, ...]
    high: tuple[int, ...]
    voxels: int


@dataclass(frozen=True, eq=False)
class Image:
    """Scalar voxels `data` of shape `grid.shape`, axis i of the array along axis i of the grid.

    Integer data stays integer (int16 CT takes two bytes a voxel until it is looked up); either memory order is
    fine. `stored_type` names the type the voxels had in their file ("uint16", ...), where torch has no such type
    or it was widened, so that results can be written in it. `name` is what error messages call the image.

    Raises `DataError` when data and grid do not fit.
    """

    data: Tensor
    grid: Grid
    stored_type: str | None = None
    name: str = "image"

    def __post_init__(self) -> None:
        if tuple(self.data.shape) != self.grid.shape:
            raise DataError(f"{self.name}: voxels of shape {tuple(self.data.shape)} on a grid of {self.grid.shape}")

    @property
    def dimension(self) -> int:
        """Number of axes D, 2 or 3."""
        return self.grid.dimension

    @cached_property
    def foreground(self) -> Foreground:
        """The box and number of voxels above 0: of a mask, those inside. Raises `DataError` where there is none."""
        inside = self.data > 0
        axes = range(self.dimension)
        places = [inside.amax(dim=[b for b in axes if b != axis]).nonzero().flatten() for axis in axes]
        if len(places[0]) == 0:
            raise DataError(f"{self.name}: expected a mask with voxels above 0, found an empty one")
        low, high = (tuple(int(p[end]) for p in places) for end in (0, -1))
        return Foreground(low, tuple(h + 1 for h in high), int(torch.count_nonzero(inside)))

    @property
    def voxel_type(self) -> str:
        """Name of the type the image is stored with, as numpy spells it."""
        return self.stored_type or str(self.data.dtype).removeprefix("torch.")

    def with_data(self, data: Tensor) -> Image:
        """Return an image of other voxels on the same grid, in their own type."""
        return replace(self, data=data, stored_type=None)

    def with_grid(self, grid: Grid) -> Image:
        """Return the same voxels placed elsewhere: a new header, nothing resampled."""
        return replace(self, grid=grid)

    def require_finite(self) -> None:
        """Raise `DataError` when a voxel is NaN or infinite, telling how many and where the first is."""
        if not self.data.dtype.is_floating_point:
            return
        bad = ~torch.isfinite(self.data)
        if bool(bad.any()):
            first = tuple(bad.nonzero()[0].tolist())
            raise DataError(
                f"{self.name}: expected finite voxels, found {int(bad.sum())} NaN or infinite, the first at {first}; "
                "replace them by the value of the background"
            )

    def require_contrast(self) -> None:
        """Raise `DataError` when all voxels have one value: nothing to register."""
        low, high = self.data.amin(), self.data.amax()
        if bool(low == high):
            raise DataError(f"{self.name}: expected an image with contrast, found the constant {low.item():g}")
