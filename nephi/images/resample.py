"""Resampling an image through a point map."""

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
    """Voxels of an image at world points, in the image's own type; see `resample`.

    A value `outside` that the type in the image's file cannot hold is rounded and clamped to it, with a `DataWarning`.
    Raises `UsageError` for an unknown interpolation, a NaN or infinite `outside` of an image of whole numbers, and one
    that its float type makes infinite.
    """

    def __init__(self, image: Image, interpolation: str, outside: float) -> None:
        if not math.isfinite(outside) and not image.data.dtype.is_floating_point:
            raise UsageError(f"{image.name}: expected a finite value outside an image of whole numbers, got {outside}")
        self.image = image
        self._type = _result_type(image, outside)
        self._outside = self._as_type(torch.tensor(outside, dtype=torch.float64))
        used = float(self._outside)
        if math.isfinite(outside) and not math.isfinite(used):
            raise UsageError(f"{image.name}: expected a value outside that {image.voxel_type} holds, got {outside:g}")
        if not self._type.is_floating_point and used != outside:
            warn(
                f"{image.name}: expected a value outside the image that its type {image.voxel_type} holds, got "
                f"{outside:g}: used {used:g}"
            )
        self._interpolate = interpolator(image, interpolation)
        self.reached = False
        """Whether any of the points so far lay inside the image."""

    @torch.no_grad()
    def __call__(self, points_world: Tensor) -> Tensor:
        """Return voxels `(...)` at world points `(..., D)`; integers are rounded and clamped to their range."""
        points = self.image.grid.world_to_voxel_points(points_world)
        inside = self.image.grid.contains_voxel_points(points)
        self.reached = self.reached or bool(inside.any())
        if not bool(points.sum().isfinite()):
            points = torch.where(inside.unsqueeze(-1), points, 0.0)  # NaN and infinite ones have no voxel
        return torch.where(inside, self._as_type(self._interpolate(points)), self._outside)

    def empty(self, reference: Grid) -> Image:
        """Return an image of this type on `reference`, not filled yet."""
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
    """Return `image(transform(x))` at the voxel centres x of `reference`: for a registration, the warped moving image.

    `transform` takes reference points to the image's world (mm, RAS). `interpolation` is `linear`; `nearest`;
    `bspline` (cubic, prefiltered); or `label`: the label whose linearly interpolated indicator is largest, for label
    maps. Points outside the image (beyond half a voxel of its border) get `outside`. Voxels keep the image's type;
    whole numbers are exact with `nearest` and `label`, whatever their size. Voxels that are NaN or infinite stay
    local, as `linear` has it; `bspline` puts the nearest finite value in their places to compute its coefficients.
    Works slab by slab, so that memory stays flat. A `DataWarning` says when no voxel centre falls inside the image.

    Raises `UsageError` for an unknown interpolation.
    """
    resampler = Resampler(image, interpolation, outside)
    result = resampler.empty(reference)
    with torch.no_grad():
        for start, stop in reference.slabs():
            result.data[..., start:stop] = resampler(transform(reference.voxel_centres(start, stop)))
    if not resampler.reached:
        name = image.name.partition(", volume ")[0]  # one text for all volumes of a series
        warn(
            f"{name}: no voxel of the reference falls inside the image: all of the result is {outside:g}; check "
            "the headers of both, and the direction of the transform"
        )
    return result


def warn_of_units(image: Image, outside: float) -> None:
    """Warn when a value outside that comes from settings is far from all voxels: made for images in other units.

    Far is more than half the image's range away, so -1024 HU suits a CT that is cut off at -1000, and no PET.
    """
    low, high = float(image.data.amin()), float(image.data.amax())
    reach = (high - low) / 2
    if outside != 0 and not low - reach <= outside <= high + reach and low < high:
        warn(
            f"{image.name}: its voxels lie between {low:g} and {high:g}, far from {outside:g}, the value that the "
            "transform stores for voxels from outside; choose the interpolation label for a mask or label map; give "
            "the value outside for an image in other units"
        )


def _result_type(image: Image, outside: float) -> torch.dtype:
    """Return the type of resampled voxels: the image's, or a wider one if the type in its file holds `outside`."""
    held, stored = image.data.dtype, image.stored_type
    if stored is None or not math.isfinite(outside):
        return held
    if held == torch.float32 and stored == "float64":
        kept = float(torch.tensor(outside, dtype=torch.float32)) == outside
        return held if kept or (abs(outside) < EXACT) else torch.float64
    for wider in (torch.int16, torch.int32, torch.int64):
        low, high = _limits(stored, wider)
        if not held.is_floating_point and wider.itemsize > held.itemsize and low <= outside <= high:
            ours = _limits(stored, held)
            return held if ours[0] <= outside <= ours[1] else wider
    return held


def _limits(stored: str, held: torch.dtype) -> tuple[float, float]:
    """Return the least and largest double that both integer types hold."""
    own = torch.iinfo(held)
    limits = np.iinfo(stored) if np.dtype(stored).kind in "iu" else own
    low, high = float(max(own.min, limits.min)), min(own.max, limits.max)
    # 2^63 - 1 is no double, and 2^63 would wrap.
    return low, float(high) if int(float(high)) <= high else math.nextafter(float(high), 0)
