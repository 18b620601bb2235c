"""Interpolators of images: the functions behind the names in `INTERPOLATIONS`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nephi.errors import UsageError, warn
from nephi.geometry import interpolate, interpolate_majority, interpolate_nearest
from nephi.images.image import Image
from nephi.images.label_maps import looks_like_labels

INTERPOLATIONS = ("linear", "nearest", "bspline", "label")
"""Interpolations of `resample`."""
LABEL_INTERPOLATIONS = ("nearest", "label")  # for label maps, whose value outside is 0

Interpolator = Callable[[Tensor], Tensor]
EXACT = 2**24  # float32 represents all whole numbers up to here
NEGLIGIBLE = 1e-3  # weight below which a NaN is ignored; by rounding, neighbours of voxel centres have about 1e-5
ROUNDING = 1e-3  # largest distance of a label from a whole number: scaled labels may be 1.9999


def interpolator(image: Image, interpolation: str) -> Interpolator:
    """Return a function that interpolates an image on the CPU: finite voxel points `(..., D)` to values `(...)`.

    `nearest` and `label` return voxels exactly, in the image's type; the others return floats. NaN and infinite voxels
    stay local: where they have more than a thousandth of the weight in linear interpolation, `linear` and `bspline`
    return NaN (or the infinite value, if that is the nearest voxel); elsewhere they interpolate the other voxels.

    Issues a `DataWarning` for `label` when voxels are not whole numbers, and for `linear` and `bspline` when voxels
    look like labels: whole numbers beyond 2^24, or few whole numbers in uniform areas. Raises `UsageError` for an
    unknown interpolation.
    """
    if interpolation not in INTERPOLATIONS:
        raise UsageError(f"interpolation: expected one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    data = image.data
    if interpolation == "nearest":
        return lambda points: interpolate_nearest(data, points)
    if interpolation == "label":
        _warn_of_fractions(image)
        return lambda points: interpolate_majority(data, points.double())
    _warn_of_labels(image, interpolation)
    if data.dtype.is_floating_point and not bool(data.sum(dtype=torch.float64).isfinite()):
        return _interpolator_with_gaps(data, interpolation)
    return _linear(data) if interpolation == "linear" else _bspline(data)


def _warn_of_fractions(image: Image) -> None:
    if not image.data.dtype.is_floating_point:
        return
    finite = image.data[image.data.isfinite()]
    fractions = finite[(finite - finite.round()).abs() > ROUNDING]
    if len(fractions):
        warn(
            f"{image.name}: expected whole numbers to interpolate as labels, found {fractions[0].item():g}; choose "
            "linear or bspline for intensities"
        )


def _warn_of_labels(image: Image, interpolation: str) -> None:
    data = image.data
    if looks_like_labels(data):
        warn(
            f"{image.name}: looks like a label map, and {interpolation} interpolation averages labels to other labels; "
            "if it is one, choose the interpolation label or nearest"
        )
    if not _needs_double(data):
        return
    finite = data[data.isfinite()] if data.dtype.is_floating_point else data
    if finite.numel() and bool(finite.abs().amax() > EXACT) and bool((finite == finite.round()).all()):
        warn(
            f"{image.name}: whole numbers beyond 2^24 are averaged ({interpolation}); if they are labels, choose the "
            "interpolation label or nearest"
        )


def _linear(data: Tensor) -> Interpolator:
    if _needs_double(data):
        return lambda points: interpolate(data, points.double())
    return lambda points: interpolate(data, points)


def _bspline(data: Tensor) -> Interpolator:
    """Return the interpolating cubic spline, mirrored at the border as in ITK; beyond it the border continues."""
    from scipy import ndimage

    precision = "float64" if _needs_double(data) else "float32"
    voxels = data.float() if data.dtype in (torch.float16, torch.bfloat16) else data
    coefficients = ndimage.spline_filter(voxels.numpy(), order=3, output=precision, mode="mirror")
    last = torch.tensor([n - 1 for n in data.shape], dtype=torch.float64)

    def evaluate(points: Tensor) -> Tensor:
        values = ndimage.map_coordinates(
            coefficients,
            points.clamp(min=0.0).minimum(last.to(points)).movedim(-1, 0).numpy(),
            order=3,
            mode="mirror",
            prefilter=False,
            output=precision,
        )
        return torch.from_numpy(values)

    return evaluate


def _needs_double(data: Tensor) -> bool:
    """Return whether float32 would round voxels."""
    if data.dtype == torch.float64:
        return True
    return data.dtype in (torch.int32, torch.int64) and bool((data.amax() > EXACT) | (data.amin() < -EXACT))


def _interpolator_with_gaps(data: Tensor, interpolation: str) -> Interpolator:
    """Return the interpolator of voxels some of which, the gaps, are NaN or infinite."""
    gaps = ~data.isfinite()
    gap_weight = _linear(gaps.to(torch.uint8))
    linear = interpolation == "linear"
    without_gaps = _linear(data.masked_fill(gaps, 0.0)) if linear else _bspline(_fill_gaps(data, gaps))

    def evaluate(points: Tensor) -> Tensor:
        missing = gap_weight(points)
        values = without_gaps(points)
        if linear:
            values = values / (1 - missing)
        nearest = interpolate_nearest(data, points)
        gap_values = torch.where(nearest.isfinite(), torch.nan, nearest).to(values.dtype)
        return torch.where(missing > NEGLIGIBLE, gap_values, values)

    return evaluate


def _fill_gaps(data: Tensor, gaps: Tensor) -> Tensor:
    """Return voxels with gaps replaced by the nearest finite value, for the coefficients of a spline."""
    from scipy import ndimage

    if bool(gaps.all()):
        return torch.zeros_like(data)
    nearest = ndimage.distance_transform_edt(gaps.numpy(), return_distances=False, return_indices=True)
    return data[tuple(torch.from_numpy(axis) for axis in nearest)]
