"""The detail length of an image: the distance between its extrema, from differences of its voxels."""

from __future__ import annotations

import math
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor

from nephi.images.image import Image
from nephi.images.pyramid import downsampled

SAMPLES = 500_000  # runs of voxels along each axis: enough for means
RUN = 5  # voxels of a fourth difference
LEAST_RUNS = 100
QUARTILE = 0.3186  # of the magnitude of a normal variable of standard deviation 1
LEAST_STRUCTURE = 0.25  # fraction of the mean square of second differences that is not noise


class _Moments(NamedTuple):
    """Means of squared first and second derivatives, each summed over the axes, without noise.

    `structure` is the fraction of the second one that is not noise.
    """

    slope: float
    curvature: float
    structure: float


def detail_length(image: Image, mask: Image | None = None, window: tuple[float, float] | None = None) -> float:
    """Return the detail length of an image in mm: about half the wavelength of its finest strong structures.

    It is `pi sqrt(3 / (D + 2) * sum_a <(dI/dx_a)^2> / sum_a <(d^2I/dx_a^2)^2>)` with sums over the voxel axes and means
    over the voxels inside `mask` (on the image's grid; None: the voxels above the minimum, which is background). For
    an isotropic texture of one wavelength it is half of that; in general it is the mean distance of the extrema of a
    random function with the image's spectrum (Rice, 1944), weighted by the slopes. Derivatives are differences of
    voxels, hence it is at least 1.4 voxels or so. Intensities are clamped to `window`.

    Independent noise of the voxels is subtracted. Its level is the lower quartile of the magnitude of fourth
    differences along the axis where it is least, since most voxels lie where an image is smooth. Where more than
    three quarters of the second differences are noise, the image is measured at half the resolution instead. An image
    with too little structure for a measurement has the length of its whole box.
    """
    inside = image.data > image.data.amin() if mask is None else mask.data > 0
    low, high = window if window is not None else (-math.inf, math.inf)
    level, clamped = Image(image.data, image.grid), (low, high)
    for halvings in count():
        moments = _spectral_moments(level, inside, clamped if halvings == 0 else (-math.inf, math.inf))
        if moments is None:
            break
        if moments.structure >= LEAST_STRUCTURE and moments.slope > 0:
            ratio = 3 / (image.dimension + 2) * moments.slope / moments.curvature
            return math.pi * math.sqrt(ratio)
        level, inside = _halved(level, inside, window if halvings == 0 else None)
    return float((image.grid.spacing * torch.tensor(image.grid.shape, dtype=torch.int64)).max())


def _spectral_moments(image: Image, inside: Tensor, window: tuple[float, float]) -> _Moments | None:
    """Return the moments of an image where `inside`, intensities clamped to `window`; None for too few voxels."""
    slopes, curvatures, noises, slope_gain, curvature_gain = 0.0, 0.0, [], 0.0, 0.0
    for axis, spacing in enumerate(image.grid.spacing.tolist()):
        runs = _runs(image.data, inside, axis)
        if len(runs) < LEAST_RUNS:
            continue
        runs = runs.double().clamp(*window)
        first, second = runs.diff(dim=1), runs.diff(n=2, dim=1)
        slopes += float(first[:, 2].square().mean()) / spacing**2
        curvatures += float(second[:, 1].square().mean()) / spacing**4
        # Squared coefficients of the differences 1 1, 1 2 1 and 1 4 6 4 1: their variances for noise of variance 1.
        slope_gain, curvature_gain = slope_gain + 2 / spacing**2, curvature_gain + 6 / spacing**4
        magnitudes = second.diff(n=2, dim=1)[:, 0].abs()
        noises.append(float(magnitudes.kthvalue(1 + len(magnitudes) // 4).values) / QUARTILE / math.sqrt(70))
    if not curvatures:
        return None
    variance = min(noises) ** 2
    curvature = curvatures - curvature_gain * variance
    return _Moments(slopes - slope_gain * variance, curvature, curvature / curvatures)


def _runs(data: Tensor, inside: Tensor, axis: int) -> Tensor:
    """Return runs of `RUN` neighbours along an axis `(N, RUN)`, all `inside`: evenly spaced ones of a large image."""
    step = max(1, math.ceil((data.numel() / SAMPLES) ** (1 / max(1, data.ndim - 1))))
    lines = tuple(slice(None) if other == axis else slice(step // 2, None, step) for other in range(data.ndim))
    if data.shape[axis] < RUN:
        return data.new_empty((0, RUN))
    complete = inside[lines].unfold(axis, RUN, 1).all(dim=-1)
    return data[lines].unfold(axis, RUN, 1)[complete]


def _halved(image: Image, inside: Tensor, window: tuple[float, float] | None) -> tuple[Image, Tensor]:
    """Return means over blocks of voxels, two along the axes with the smallest voxels, and which are all `inside`."""
    # An axis of one voxel cannot be halved: its voxels do not count, or the others would stop shrinking.
    spacings = [spacing for spacing, n in zip(image.grid.spacing.tolist(), image.grid.shape, strict=True) if n > 1]
    resolution = 2 * min(spacings)
    fractions, _ = downsampled(Image(inside.to(torch.uint8), image.grid), resolution)
    return downsampled(image, resolution, window)[0], fractions.data > 1 - 1e-3
