"""Resampling an image through a point map."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid, PointMap, lookup, lookup_majority, lookup_nearest
from nephi.images.image import Image

INTERPOLATIONS = ("linear", "nearest", "bspline", "label")
"""The interpolations of `resample`."""


class Resampler:
    """Voxels of an image at world points, in the image's own type; see `resample`.

    Raises `UsageError` for an unknown interpolation, or an `outside` that the image's type cannot hold.
    """

    def __init__(self, image: Image, interpolation: str, outside: float) -> None:
        if not math.isfinite(outside) and not image.data.dtype.is_floating_point:
            raise UsageError(f"{image.name}: expected a finite value outside an image of whole numbers, got {outside}")
        self.image = image
        self._outside = _as_type(torch.tensor(outside, dtype=torch.float64), image)
        self._look = _lookup_of(image, interpolation)

    @torch.no_grad()
    def __call__(self, points_world: Tensor) -> Tensor:
        """Return voxels `(...)` at world points `(..., D)`; integers are rounded and clamped to their range."""
        points = self.image.grid.world_to_voxel_points(points_world)
        values = _as_type(self._look(points), self.image)
        return torch.where(self.image.grid.contains_voxel_points(points), values, self._outside)

    def empty(self, reference: Grid) -> Image:
        """Return an image of this type on `reference`, not filled yet."""
        axes = range(reference.dimension)
        data = torch.empty(tuple(reversed(reference.shape)), dtype=self.image.data.dtype).permute(*reversed(axes))
        return replace(self.image, data=data, grid=reference)


def resample(
    image: Image, reference: Grid, transform: PointMap, interpolation: str = "linear", outside: float = 0.0
) -> Image:
    """Return `image(transform(x))` at the voxel centres x of `reference`: for a registration, the warped moving image.

    `transform` takes reference points to the image's world (mm, RAS). `interpolation` is `linear`; `nearest`;
    `bspline` (cubic, prefiltered); or `label`: the label whose linearly interpolated indicator is largest, for label
    maps. Points outside the image (beyond half a voxel of its border) get `outside`. Voxels keep the image's type.
    Works slab by slab, so that memory stays flat.

    Raises `UsageError` for an unknown interpolation.
    """
    resampler = Resampler(image, interpolation, outside)
    result = resampler.empty(reference)
    with torch.no_grad():
        for start, stop in reference.slabs():
            result.data[..., start:stop] = resampler(transform(reference.voxel_centres(start, stop)))
    return result


def _lookup_of(image: Image, interpolation: str) -> Callable[[Tensor], Tensor]:
    match interpolation:
        case "linear":
            return lambda points: lookup(image.data, points)
        case "nearest":
            return lambda points: lookup_nearest(image.data, points)
        case "bspline":
            return _bspline(image.data)
        case "label":
            return lambda points: lookup_majority(image.data, points.double())  # holds labels beyond 2^24, too
    raise UsageError(f"unknown interpolation {interpolation!r}: choose one of {', '.join(INTERPOLATIONS)}")


def _bspline(data: Tensor) -> Callable[[Tensor], Tensor]:
    from scipy import ndimage

    coefficients = ndimage.spline_filter(data.numpy(), order=3, output="float32", mode="nearest")

    def look(points: Tensor) -> Tensor:
        values = ndimage.map_coordinates(
            coefficients, points.movedim(-1, 0).numpy(), order=3, mode="nearest", prefilter=False, output="float32"
        )
        return torch.from_numpy(values)

    return look


def _as_type(values: Tensor, image: Image) -> Tensor:
    if image.data.dtype.is_floating_point or values.dtype == image.data.dtype:
        return values.to(image.data.dtype)
    if image.data.dtype == torch.bool:
        return values > 0.5
    limits = torch.iinfo(image.data.dtype)
    low, high = limits.min, limits.max
    if image.stored_type in ("uint16", "uint32"):
        low, high = 0, min(high, 2**16 - 1 if image.stored_type == "uint16" else 2**32 - 1)
    return values.double().round().clamp(low, high).to(image.data.dtype)
