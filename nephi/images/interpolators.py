"""Interpolating an image's voxels: the functions behind the names of `INTERPOLATIONS`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nephi.errors import UsageError, warn
from nephi.geometry import interpolate, interpolate_majority, interpolate_nearest
from nephi.images.image import Image
from nephi.images.label_maps import looks_like_labels

INTERPOLATIONS = ("linear", "nearest", "bspline", "label")
"""The interpolations of `resample`."""
LABEL_INTERPOLATIONS = ("nearest", "label")  # the ones for label maps: outside of those is 0

Interpolator = Callable[[Tensor], Tensor]
EXACT = 2**24  # float32 holds every whole number up to here
NEGLIGIBLE = 1e-3  # weight of a NaN that does not count; rounding gives neighbours of voxel centres about 1e-5
FRACTION = 1e-3  # scaled labels come out as 1.9999 sometimes


def interpolator(image: Image, interpolation: str) -> Interpolator:
    """Return the function from voxel points `(..., D)`, finite ones, to values `(...)` of an image on the CPU.

    `nearest` and `label` give voxels in the image's own type, exact; the others floats. NaN and infinite voxels stay
    local: `linear` and `bspline` give NaN (or the infinite value, if that is the nearest) where such voxels have more
    than a thousandth of the weight in linear interpolation, and interpolate between the others elsewhere.

    A `DataWarning` says when `label` is asked for and voxels are no whole numbers, and when whole numbers so large
    that they can only be labels, or that lie in areas of few of them as labels do, are to be averaged. Raises
    `UsageError` for an unknown interpolation.
    """
    if interpolation not in INTERPOLATIONS:
        raise UsageError(f"unknown interpolation {interpolation!r}: choose one of {', '.join(INTERPOLATIONS)}")
    data = image.data
    if interpolation == "nearest":
        return lambda points: interpolate_nearest(data, points)
    if interpolation == "label":
        _warn_of_fractions(image)
        return lambda points: interpolate_majority(data, points.double())
    _warn_of_labels(image, interpolation)
    if data.dtype.is_floating_point and not bool(data.sum(dtype=torch.float64).isfinite()):
        return _between_gaps(data, interpolation)
    return _linear(data) if interpolation == "linear" else _bspline(data)


def _warn_of_fractions(image: Image) -> None:
    if not image.data.dtype.is_floating_point:
        return
    finite = image.data[image.data.isfinite()]
    fractions = finite[(finite - finite.round()).abs() > FRACTION]
    if len(fractions):
        warn(
            f"{image.name}: expected whole numbers to interpolate as labels, found {fractions[0].item():g}; choose "
            "linear or bspline for intensities"
        )


def _warn_of_labels(image: Image, interpolation: str) -> None:
    data = image.data
    if looks_like_labels(data):
        warn(
            f"{image.name}: looks like a label map, whose numbers {interpolation} averages to other labels; choose the "
            "interpolation label or nearest, if it is one"
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
    """Return the cubic spline through all voxels, mirrored at the border as in ITK; beyond it the border continues."""
    from scipy import ndimage

    precision = "float64" if _needs_double(data) else "float32"
    voxels = data.float() if data.dtype in (torch.float16, torch.bfloat16) else data
    coefficients = ndimage.spline_filter(voxels.numpy(), order=3, output=precision, mode="mirror")
    last = torch.tensor([n - 1 for n in data.shape], dtype=torch.float64)

    def look(points: Tensor) -> Tensor:
        values = ndimage.map_coordinates(
            coefficients,
            points.clamp(min=0.0).minimum(last.to(points)).movedim(-1, 0).numpy(),
            order=3,
            mode="mirror",
            prefilter=False,
            output=precision,
        )
        return torch.from_numpy(values)

    return look


def _needs_double(data: Tensor) -> bool:
    """Return whether float32 would round voxels."""
    if data.dtype == torch.float64:
        return True
    return data.dtype in (torch.int32, torch.int64) and bool((data.amax() > EXACT) | (data.amin() < -EXACT))


def _between_gaps(data: Tensor, interpolation: str) -> Interpolator:
    """Return the interpolator of voxels some of which are NaN or infinite: gaps."""
    gaps = ~data.isfinite()
    share = _linear(gaps.to(torch.uint8))
    present = _linear(data.masked_fill(gaps, 0.0)) if interpolation == "linear" else _bspline(_filled(data, gaps))

    def look(points: Tensor) -> Tensor:
        missing = share(points)
        values = present(points)
        if interpolation == "linear":
            values = values / (1 - missing)
        nearest = interpolate_nearest(data, points)
        marks = torch.where(nearest.isfinite(), torch.nan, nearest).to(values.dtype)
        return torch.where(missing > NEGLIGIBLE, marks, values)

    return look


def _filled(data: Tensor, gaps: Tensor) -> Tensor:
    """Return voxels with the nearest finite one's value in every gap: a spline's coefficients depend on all voxels."""
    from scipy import ndimage

    if bool(gaps.all()):
        return torch.zeros_like(data)
    nearest = ndimage.distance_transform_edt(gaps.numpy(), return_distances=False, return_indices=True)
    return data[tuple(torch.from_numpy(axis) for axis in nearest)]
