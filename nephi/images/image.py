"""An image: an array of voxels, and the grid that places them in the world."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.images.mapping import Mapping
from nephi.kernels import can_read_through, foreground_profiles

VOXEL_TYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
)
"""The types that an image's voxels are held in."""
STORED_TYPES = (
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "bfloat16", "float32", "float64", "longdouble", "float128"),
)


class Foreground(NamedTuple):
    """Voxels `low` (included) to `high` (not) along each axis hold all that are above 0, `voxels` of them.

    `centre` `(D,)` is their mean, in voxel coordinates, double precision.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    voxels: int
    centre: Tensor


@dataclass(frozen=True, eq=False)
class Image:
    """Scalar voxels `data` of shape `grid.shape`, axis i of the array along axis i of the grid.

    `data` has one of the `VOXEL_TYPES`: bool, uint8, signed integers, floats of 16 to 64 bits. Integer data stays
    integer (int16 CT takes two bytes a voxel until it is looked up); either memory order is fine. `stored_type` names
    the type the voxels had in their file ("uint16", ...), where torch has no such type or it was widened, so that
    results can be written in it. `name` is what error messages call the image; `warnings` are the texts of what its
    reader warned of.

    Raises `DataError` when data and grid do not fit, `UsageError` for voxels or a `stored_type` of another type.
    """

    data: Tensor
    grid: Grid
    stored_type: str | None = None
    name: str = "image"
    warnings: tuple[str, ...] = ()
    mapping: Mapping | None = None

    def __post_init__(self) -> None:
        found = self.data.dtype if isinstance(self.data, Tensor) else type(self.data).__name__
        if found not in VOXEL_TYPES:
            known = ", ".join(str(t).removeprefix("torch.") for t in VOXEL_TYPES)
            raise UsageError(
                f"{self.name}: expected voxels as a tensor of {known}, found {found}; convert them (unsigned integers "
                'to a wider signed type, with stored_type="uint16", ...)'
            )
        if self.stored_type not in (None, *STORED_TYPES):
            raise UsageError(f"{self.name}: unknown stored_type {self.stored_type!r}: choose one of {STORED_TYPES}")
        if tuple(self.data.shape) != self.grid.shape:
            raise DataError(f"{self.name}: voxels of shape {tuple(self.data.shape)} on a grid of {self.grid.shape}")

    def __getstate__(self) -> dict[str, object]:
        """Return what is pickled: the voxels themselves, not the file that they are mapped from."""
        return {**self.__dict__, "mapping": None}

    @property
    def dimension(self) -> int:
        """Number of axes D, 2 or 3."""
        return self.grid.dimension

    @cached_property
    def foreground(self) -> Foreground:
        """Bounds, number and centre of the voxels above 0, e.g. inside a mask. Raises `DataError` without any."""
        profiles = foreground_profiles(self.data) if can_read_through(self.data) else _foreground_profiles(self.data)
        voxels = int(profiles[0].sum())
        if voxels == 0:
            raise DataError(f"{self.name}: expected a mask with voxels above 0, found an empty one")
        occupied = [profile.nonzero().flatten() for profile in profiles]
        low, high = (tuple(int(indices[end]) for indices in occupied) for end in (0, -1))
        centre = torch.stack([(p.double() * torch.arange(len(p))).sum() / voxels for p in profiles])
        return Foreground(low, tuple(h + 1 for h in high), voxels, centre)

    @property
    def voxel_type(self) -> str:
        """Name of the type the image is stored with, as numpy spells it."""
        return self.stored_type or str(self.data.dtype).removeprefix("torch.")

    def with_data(self, data: Tensor) -> Image:
        """Return an image of other voxels on the same grid, in their own type."""
        return replace(self, data=data, stored_type=None)

    def with_grid(self, grid: Grid) -> Image:
        """Return the same voxels placed elsewhere: a new header, nothing resampled."""
        placed = replace(self, grid=grid)
        if "foreground" in self.__dict__:  # in voxel coordinates, and costly: computing it reads all voxels
            placed.__dict__["foreground"] = self.foreground
        return placed

    def require_finite(self) -> None:
        """Raise `DataError` when a voxel is NaN, infinite or beyond float32, with their number and the first one."""
        if not self.data.dtype.is_floating_point:
            return
        bad = ~torch.isfinite(self.data.float())
        if bool(bad.any()):
            first = tuple(bad.nonzero()[0].tolist())
            kind = "NaN or infinite" if bool((~torch.isfinite(self.data[bad])).all()) else "NaN or beyond 3.4e38"
            raise DataError(
                f"{self.name}: expected finite voxels, found {int(bad.sum())} {kind}, the first at {first}; "
                "replace them by the value of the background"
            )

    def require_contrast(self) -> None:
        """Raise `DataError` when all voxels have one value: nothing to register."""
        low, high = self.data.amin(), self.data.amax()
        if bool(low == high):
            raise DataError(f"{self.name}: expected an image with contrast, found the constant {low.item():g}")


class Voxels:
    """The attribute `data` of `Image`: every pass over the voxels starts there, and verifies the file behind them."""

    def __get__(self, image: Image | None, kind: Any = None) -> Tensor:
        if image is None:
            raise AttributeError("data")  # a dataclass looks here for a default, and finds none
        data: Tensor = image.__dict__["_data"]
        mapping = image.mapping
        if mapping is not None and mapping.holds(data):
            mapping.require_whole()
        return data

    def __set__(self, image: Image, data: Tensor) -> None:
        image.__dict__["_data"] = data


Image.data = Voxels()  # type: ignore[assignment]  # a field like the others, but verified at each access


def _foreground_profiles(data: Tensor) -> list[Tensor]:
    """Return for each axis the number of voxels above 0 in every slice across it: twin of the kernel."""
    inside = data > 0
    axes = range(data.ndim)
    return [inside.sum(dim=[b for b in axes if b != axis]).cpu() for axis in axes]
