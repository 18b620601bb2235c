"""An image: an array of voxels and its grid in world space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nephi.argument_types import shown
from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.images.arrays import Array, array_voxels, to_numpy
from nephi.images.exchange import (
    AntsImage,
    NibabelImage,
    SitkImage,
    ants_voxels,
    nibabel_voxels,
    sitk_voxels,
    to_nibabel,
    to_sitk,
)
from nephi.images.mapping import Mapping
from nephi.images.notebook import image_html
from nephi.images.origin import Origin
from nephi.kernels import can_read_through, foreground_profiles

VOXEL_TYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
)
"""Types of an image's voxels in memory."""
STORED_TYPES = (
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "bfloat16", "float32", "float64", "longdouble", "float128"),
)


class Foreground(NamedTuple):
    """Bounding box, number and centre of the voxels above 0.

    The box extends from index `low` (included) to `high` (excluded) along each axis; `voxels` is the number of voxels
    above 0, `centre` `(D,)` their mean in voxel coordinates, double precision.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    voxels: int
    centre: Tensor


@dataclass(frozen=True, eq=False)
class Image:
    """Scalar voxels `data` of shape `grid.shape`, axis i of the array along axis i of the grid.

    `data` has one of the `VOXEL_TYPES`: bool, uint8, signed integers, floats of 16 to 64 bits. Integer data stays
    integer (int16 CT takes two bytes a voxel until it is interpolated), in any memory order. `stored_type` names the
    voxel type of the file ("uint16", ...) where torch lacks it or it was widened, so that results can be written in
    it. `name` identifies the image in error messages; `warnings` are the texts of its reader's warnings; `origin` is
    what a DICOM header says of patient and scan.

    Raises `DataError` when the shapes of data and grid differ, `UsageError` for unsupported types of voxels or an
    unknown `stored_type`.
    """

    data: Tensor
    grid: Grid
    stored_type: str | None = None
    name: str = "image"
    warnings: tuple[str, ...] = ()
    mapping: Mapping | None = None
    origin: Origin | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.grid, Grid):
            advice = "nephi.Grid.from_spacing(shape, spacing), or nephi.Image.from_numpy for an array"
            raise UsageError(f"grid: expected nephi.Grid, got {shown(self.grid)}; give {advice}")
        if not isinstance(self.name, str):
            raise UsageError(f"name: expected a text, got {shown(self.name)}")
        if not isinstance(self.mapping, Mapping | None):
            raise UsageError(f"mapping: expected nephi.images.Mapping or None, got {shown(self.mapping)}")
        voxel_type = self.data.dtype if isinstance(self.data, Tensor) else type(self.data).__name__
        if voxel_type not in VOXEL_TYPES:
            allowed = ", ".join(str(t).removeprefix("torch.") for t in VOXEL_TYPES)
            raise UsageError(
                f"{self.name}: expected voxels as a tensor of {allowed}, got {voxel_type}; convert them (unsigned "
                'integers to a wider signed type, with stored_type="uint16", ...)'
            )
        if not isinstance(self.stored_type, str | None) or self.stored_type not in (None, *STORED_TYPES):
            raise UsageError(
                f"{self.name}: stored_type: expected one of {', '.join(STORED_TYPES)}, got {self.stored_type!r}"
            )
        if tuple(self.data.shape) != self.grid.shape:
            raise DataError(
                f"{self.name}: expected voxels of shape {self.grid.shape} like the grid, got {tuple(self.data.shape)}"
            )

    @classmethod
    def from_numpy(
        cls,
        array: ArrayLike,
        affine: ArrayLike | None = None,
        *,
        spacing: float | Sequence[float] | None = None,
        origin: Sequence[float] | None = None,
        direction: ArrayLike | None = None,
        name: str = "image",
    ) -> Image:
        """Return an image of a numpy array, whose first axis is x (i), as in nibabel: `array[i, j, k]`.

        Its position is either `affine`, the `(D + 1, D + 1)` matrix from voxels to world mm (RAS), or `spacing`, mm
        along each axis (one number for all), with the world position `origin` of the first voxel (mm, RAS; default 0)
        and the axes' directions, the columns of `direction` (D, D; default along x, y, z of the world).

        The voxels are copied. bool and integers stay exact; float64 is stored as float32, as by `read_image`, and
        `voxel_type` remains its type. An array of SimpleITK (`GetArrayFromImage`) has z first: use `from_sitk`.

        Raises `UsageError` for an array that is not 2-D or 3-D or not of real numbers, and without a position or with
        two; `DataError` for a singular affine.
        """
        return cls(*array_voxels(array, affine, spacing, origin, direction, name), name=name)

    @classmethod
    def from_sitk(cls, image: SitkImage, name: str = "image") -> Image:
        """Return a copy of a 2-D or 3-D image of SimpleITK, in RAS; a volume of one axial slice is 2-D.

        Raises `UsageError` for another object or complex voxels, `DataError` for several components per voxel.
        """
        return cls(*sitk_voxels(image, name), name=name)

    @classmethod
    def from_nibabel(cls, image: NibabelImage, name: str = "image") -> Image:
        """Return a copy of a spatial image of nibabel by its `affine`; a volume of one axial slice is 2-D.

        Voxels in a file are scaled as its header states: by whole numbers, integers stay integers. Raises `UsageError`
        for another object, complex or colour voxels, `DataError` for a series and an image without affine.
        """
        return cls(*nibabel_voxels(image, name), name=name)

    @classmethod
    def from_ants(cls, image: AntsImage, name: str = "image") -> Image:
        """Return a copy of a 2-D or 3-D image of antspyx, in RAS; a volume of one axial slice is 2-D.

        Raises `UsageError` for another object, `DataError` for several components per voxel.
        """
        return cls(*ants_voxels(image, name), name=name)

    def numpy(self) -> Array:
        """Return a copy of the voxels, x (i) first, as an array of `voxel_type` (float32 for bfloat16)."""
        return to_numpy(self.data, self.voxel_type, self.name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return `numpy()`, for functions of numpy; they do not see the grid."""
        if copy is False:
            raise ValueError("an array of a nephi.Image is a copy of its voxels")
        array = self.numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def to_sitk(self) -> Any:
        """Return a `SimpleITK.Image` (LPS) of a copy of the voxels; bool becomes uint8, float16 float32.

        Raises `DataError` for a sheared grid, which SimpleITK cannot represent.
        """
        return to_sitk(self.data, self.grid, self.voxel_type, self.name)

    def to_nibabel(self) -> Any:
        """Return a `nibabel.Nifti1Image` of a copy of the voxels; bool becomes uint8, float16 float32.

        Raises `UsageError` if nibabel is not installed.
        """
        return to_nibabel(self.data, self.grid, self.voxel_type, self.name)

    def __repr__(self) -> str:
        """Return name, type and grid in one line."""
        return f"Image({self.name!r}, {self.voxel_type}, {self.grid!r})"

    def _repr_html_(self) -> str:
        """Return HTML for notebooks: the middle planes, and name, type and grid."""
        spacing, origin = (
            ", ".join(f"{x:.4g}" for x in values.tolist()) for values in (self.grid.spacing, self.grid.origin)
        )
        shape = " x ".join(map(str, self.grid.shape))
        rows = [("image", self.name), ("voxels", f"{shape}, {self.voxel_type}"), ("spacing", f"{spacing} mm")]
        return image_html(self.data, self.grid, [*rows, ("origin", f"{origin} mm, RAS")])

    def __getstate__(self) -> dict[str, object]:
        """Return the state to pickle: the voxels, without the mapped file."""
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
        """Name of the voxel type in files, in numpy's spelling."""
        return self.stored_type or str(self.data.dtype).removeprefix("torch.")

    def with_data(self, data: Tensor) -> Image:
        """Return an image of other voxels on the same grid, stored in the type of `data`."""
        return replace(self, data=data, stored_type=None)

    def with_grid(self, grid: Grid) -> Image:
        """Return an image of the same voxels on another grid, without resampling."""
        image = replace(self, grid=grid)
        if "foreground" in self.__dict__:  # in voxel coordinates, and costly: computing it reads all voxels
            image.__dict__["foreground"] = self.foreground
        return image

    def require_finite(self) -> None:
        """Raise `DataError` when voxels are NaN, infinite or beyond float32, with their number and the first one."""
        if not self.data.dtype.is_floating_point:
            return
        invalid = ~torch.isfinite(self.data.float())
        if bool(invalid.any()):
            first = tuple(invalid.nonzero()[0].tolist())
            kind = "NaN or infinite" if bool((~torch.isfinite(self.data[invalid])).all()) else "NaN or beyond 3.4e38"
            raise DataError(
                f"{self.name}: expected finite voxels, found {int(invalid.sum())} {kind}, the first at {first}; "
                "replace them by the value of the background"
            )

    def require_contrast(self) -> None:
        """Raise `DataError` when all voxels have the same value."""
        low, high = self.data.amin(), self.data.amax()
        if bool(low == high):
            raise DataError(f"{self.name}: expected an image with contrast, found the constant {low.item():g}")


class Voxels:
    """Descriptor of `Image.data`, which verifies a mapped file at each access."""

    def __get__(self, image: Image | None, kind: Any = None) -> Tensor:
        if image is None:
            raise AttributeError("data")  # so that dataclass finds no default
        data: Tensor = image.__dict__["_data"]
        mapping = image.mapping
        if mapping is not None and mapping.contains(data):
            mapping.require_complete()
        return data

    def __set__(self, image: Image, data: Tensor) -> None:
        image.__dict__["_data"] = data


Image.data = Voxels()  # type: ignore[assignment]  # a dataclass field as well


def _foreground_profiles(data: Tensor) -> list[Tensor]:
    """Return for each axis the number of voxels above 0 in every slice across it: twin of the kernel."""
    inside = data > 0
    axes = range(data.ndim)
    return [inside.sum(dim=[b for b in axes if b != axis]).cpu() for axis in axes]
