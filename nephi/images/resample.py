"""Resampling of an image through a point map."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nephi.errors import UsageError, warn
from nephi.geometry import Grid, PointMap
from nephi.images.image import Image
from nephi.images.interpolators import EXACT, interpolator


class Resampler:
    """Interpolates an image at world points, in the image's type; see `resample`.

    A value `outside` that the type of the image's file cannot represent is rounded and clamped, with a `DataWarning`.
    Raises `UsageError` for an unknown interpolation, a NaN or infinite `outside` for an image of whole numbers, and a
    finite one that overflows its float type.
    """

    def __init__(self, image: Image, interpolation: str, outside: float) -> None:
        if not math.isfinite(outside) and not image.data.dtype.is_floating_point:
            raise UsageError(f"{image.name}: outside: expected a finite number for integer voxels, got {outside}")
        self.image = image
        self._type = _result_type(image, outside)
        self._outside = self._as_type(torch.tensor(outside, dtype=torch.float64))
        used = float(self._outside)
        if math.isfinite(outside) and not math.isfinite(used):
            raise UsageError(f"{image.name}: outside: expected a number within {image.voxel_type}, got {outside:g}")
        if not self._type.is_floating_point and used != outside:
            warn(
                f"{image.name}: outside: expected a value of the image's type {image.voxel_type}, got {outside:g}; "
                f"used {used:g}"
            )
        self._interpolate = interpolator(image, interpolation)
        self.overlaps = False
        """Whether any point so far lay inside the image."""

    @torch.no_grad()
    def __call__(self, points_world: Tensor) -> Tensor:
        """Interpolate at world points `(..., D)`, return `(...)`; integers are rounded and clamped to their range."""
        points = self.image.grid.world_to_voxel_points(points_world)
        inside = self.image.grid.contains_voxel_points(points)
        self.overlaps = self.overlaps or bool(inside.any())
        if not bool(points.sum().isfinite()):
            points = torch.where(inside.unsqueeze(-1), points, 0.0)  # interpolators need finite points
        return torch.where(inside, self._as_type(self._interpolate(points)), self._outside)

    def empty(self, reference: Grid) -> Image:
        """Return an uninitialised image of the result's type on `reference`."""
        axes = range(reference.dimension)
        data = torch.empty(tuple(reversed(reference.shape)), dtype=self._type).permute(*reversed(axes))
        return replace(self.image, data=data, grid=reference)

    def _as_type(self, values: Tensor) -> Tensor:
        if self._type.is_floating_point or not values.dtype.is_floating_point:
            return values.to(self._type)
        if self._type == torch.bool:
            return values > 0.5
        low, high = _limits(self.image.voxel_type, self._type)
        return values.double().round().clamp(low, high).to(self._type)


def resample(
    image: Image, reference: Grid, transform: PointMap, interpolation: str = "linear", outside: float = 0.0
) -> Image:
    """Resample an image: evaluate `image(transform(x))` at the voxel centres x of `reference`.

    `transform` maps reference points to points of the image (world mm, RAS); with the moving image of a registration
    the result is the warped moving image. `interpolation` is `linear`, `nearest`, `bspline` (cubic, prefiltered), or
    `label`, which selects the label with the largest linearly interpolated indicator. Points more than half a voxel
    outside of the outermost voxel centres get the value `outside`. The result has the image's type; `nearest` and
    `label` are exact for whole numbers of any size. NaN and infinite voxels stay local (see `interpolator`); for the
    coefficients of `bspline` they are replaced by the nearest finite value. The result is computed slab by slab to
    limit memory. Issues a `DataWarning` when no voxel centre falls inside the image.

    Raises `UsageError` for an unknown interpolation.
    """
    resampler = Resampler(image, interpolation, outside)
    result = resampler.empty(reference)
    with torch.no_grad():
        for start, stop in reference.slabs():
            result.data[..., start:stop] = resampler(transform(reference.voxel_centres(start, stop)))
    if not resampler.overlaps:
        name = image.name.partition(", volume ")[0]  # one text for all volumes of a series
        warn(
            f"{name}: no voxel of the reference falls inside the image: all of the result is {outside:g}; check "
            "the headers of both, and the direction of the transform"
        )
    return result


def warn_of_units(image: Image, outside: float) -> None:
    """Warn when the stored value `outside` is far from all voxels, as for an image in other units.

    Far is more than half the image's range away: -1024 HU suits a CT clipped at -1000, but no PET.
    """
    low, high = float(image.data.amin()), float(image.data.amax())
    margin = (high - low) / 2
    if outside != 0 and not low - margin <= outside <= high + margin and low < high:
        warn(
            f"{image.name}: its voxels lie between {low:g} and {high:g}, far from {outside:g}, the value outside that "
            "the transform stores; choose the interpolation label for a mask or label map; give a value outside for "
            "an image in other units"
        )


def _result_type(image: Image, outside: float) -> torch.dtype:
    """Return the type of resampled voxels: the image's, or a wider one that can represent `outside` as the file can."""
    dtype, stored = image.data.dtype, image.stored_type
    if stored is None or not math.isfinite(outside):
        return dtype
    if dtype == torch.float32 and stored == "float64":
        exact = float(torch.tensor(outside, dtype=torch.float32)) == outside
        return dtype if exact or (abs(outside) < EXACT) else torch.float64
    for wider in (torch.int16, torch.int32, torch.int64):
        low, high = _limits(stored, wider)
        if not dtype.is_floating_point and wider.itemsize > dtype.itemsize and low <= outside <= high:
            narrow_low, narrow_high = _limits(stored, dtype)
            return dtype if narrow_low <= outside <= narrow_high else wider
    return dtype


def _limits(stored: str, dtype: torch.dtype) -> tuple[float, float]:
    """Return the smallest and the largest double that both integer types can represent."""
    dtype_limits = torch.iinfo(dtype)
    limits = np.iinfo(stored) if np.dtype(stored).kind in "iu" else dtype_limits
    low, high = float(max(dtype_limits.min, limits.min)), min(dtype_limits.max, limits.max)
    # 2^63 - 1 is not a double, and its rounded value 2^63 would overflow.
    return low, float(high) if int(float(high)) <= high else math.nextafter(float(high), 0)
