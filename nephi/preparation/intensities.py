"""Intensity window of an image, and plausibility of its intensities given window and units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.errors import DataError, PlausibilityWarning, warn
from nephi.images import Image
from nephi.settings import ImageSettings

Window = tuple[float, float]

SAMPLE_VOXELS = 300_000  # enough for percentiles
LEAST_BEYOND = 1e-5  # fraction of the image's voxels above the window's lower end, and below its upper one
LEAST_INSIDE = 0.1  # fraction of the compared voxels between both ends of the window
LEAST_SPREAD = 0.02  # fraction of the window between the voxels' minimum and their 99th percentile
LEAST_AIR = 1e-3  # fraction of a CT's voxels that are air or lung, or fat if there is neither
AIR_OR_LUNG = -300.0  # HU, and below
FAT = -50.0  # HU, and below
TISSUE = (-200.0, 300.0)  # HU
LEAST_TISSUE = 0.02  # fraction of a CT's voxels
HOUNSFIELD_ADVICE = "give the image in HU, a --window within its values, or --preset generic"
OFFSET = 1024.0  # which scanners and DIR-Lab's raw files add to Hounsfield units
LUNG = -200.0  # HU; the median in a mask of lungs, vessels included, is far lower


@dataclass(frozen=True, eq=False)
class IntensitySample:
    """Every n-th voxel of an image, float64: `all` of them `(N,)`, and those to be `compared` `(M,)`.

    Compared are voxels above the minimum, which is background, and inside the mask if there is one of the same shape.
    """

    all: Tensor
    compared: Tensor


def sample_intensities(image: Image, mask: Image | None) -> IntensitySample:
    """Sample about `SAMPLE_VOXELS` voxels of an image, all of a smaller one."""
    step = max(1, round((image.grid.size / SAMPLE_VOXELS) ** (1 / image.dimension)))
    subset = (slice(None, None, step),) * image.dimension
    values = image.data[subset]
    compared = values > image.data.amin()
    if mask is not None and mask.grid.shape == image.grid.shape:
        compared = compared & (mask.data[subset] > 0)
    return IntensitySample(values.double().flatten(), values[compared].double())


def intensity_window(image: Image, mask: Image | None, settings: ImageSettings) -> Window:
    """Return the intensities `(low, high)` between which an image is compared: `settings.window`, or percentiles.

    Percentiles are computed from the voxels above the minimum, which is background, and inside `mask` (on the image's
    grid).
    """
    if settings.window:
        low, high = settings.window
        return low, high
    sample = sample_intensities(image, mask).compared
    if len(sample) == 0:  # the mask lies between the sampled voxels
        return float(image.data.amin()), float(image.data.amax())
    low, high = torch.quantile(sample, torch.tensor(settings.percentiles, dtype=torch.float64) / 100).tolist()
    if not low < high:
        low, high = float(image.data.amin()), float(image.data.amax())
    return low, high


def ranked_window(image: Image, percentiles: tuple[float, float]) -> Window:
    """Return two values of the image: of N voxels in ascending order, number `percentile N / 100` rounded down.

    Numbers start at 1, so that the percentiles 0 and 100 are minimum and maximum. Other than `intensity_window`, it
    counts all voxels, background included, and does not interpolate; the window of uniGradICON for MR images.
    Raises `DataError` naming the image if both values are equal.
    """
    unsorted = image.data.dtype in (torch.bool, torch.float16)  # types that torch does not select from
    voxels = (image.data.float() if unsorted else image.data).flatten()
    ranks = [min(max(1, int(percentile / 100 * voxels.numel())), voxels.numel()) for percentile in percentiles]
    low, high = (float(voxels.kthvalue(rank).values) for rank in ranks)
    if not low < high:
        raise DataError(
            f"{image.name}: expected different intensities at the percentiles {percentiles[0]:g} and "
            f"{percentiles[1]:g} of all voxels, found {low:g} at both"
        )
    return low, high


def check_intensities(image: Image, mask: Image | None, settings: ImageSettings) -> None:
    """Validate an image's intensities against window and units of the settings; `mask` is one given by the user.

    Issues a `PlausibilityWarning` if the settings have a window and few of the compared voxels (see `IntensitySample`)
    lie in it, or they cover little of it, if an image of `units = "HU"` is not in Hounsfield units, or if a mask of
    lungs contains no lung. Raises `DataError` if the whole image lies beyond one end of the window.
    """
    if not settings.window:
        return
    sample = sample_intensities(image, mask)
    _require_values_inside(image, sample, settings.window)
    if _in_hounsfield(settings) and (problem := _hounsfield_problem(sample, settings)):
        warn(
            f"{image.name}: expected a CT in Hounsfield units (air -1000, water 0), the units of the window "
            f"{_range(*settings.window)}; {problem}",
            PlausibilityWarning,
        )
    elif len(sample.compared):
        _check_window(image, mask, sample, settings)


def _require_values_inside(image: Image, sample: IntensitySample, window: tuple[float, ...]) -> None:
    low, high = window
    above, below = _fraction(sample.all > low), _fraction(sample.all < high)
    if min(above, below) < LEAST_BEYOND:
        raise DataError(
            f"{image.name}: expected intensities inside the window {_range(low, high)}, found values "
            f"{_range(float(image.data.amin()), float(image.data.amax()))}, of which "
            f"{100 * (1 - min(above, below)):.4g} % lie beyond one end of it: nothing to align; choose a --window "
            "within the values, or a preset without one"
        )


def _in_hounsfield(settings: ImageSettings) -> bool:
    """Return whether the window is in HU; one that starts at 0 or above was chosen for shifted or scaled values."""
    return settings.units == "HU" and settings.window[0] < 0


def _hounsfield_problem(sample: IntensitySample, settings: ImageSettings) -> str:
    """Return why the values are not in Hounsfield units and the remedy; empty if they may be in HU."""
    low, high = settings.window
    values = sample.compared if len(sample.compared) else sample.all
    first, last = torch.quantile(values, torch.tensor([0.001, 0.999], dtype=torch.float64)).tolist()
    found = f"found values {_range(first, last)}"
    if last - first < LEAST_SPREAD * (high - low):
        spread = _percent((last - first) / (high - low))
        return f"{found}, {spread} of the window: they seem to be scaled; {HOUNSFIELD_ADVICE}"
    image = sample.all[sample.all > sample.all.min()]  # without the padding of scanners, such as -2048
    if _fraction(image < AIR_OR_LUNG) > LEAST_AIR:
        return ""
    tissue = (image > TISSUE[0] + OFFSET) & (image < TISSUE[1] + OFFSET)
    if min(_fraction(tissue), _fraction(image < TISSUE[0] + OFFSET)) > LEAST_TISSUE:
        masks = ", with masks of the lungs" if settings.mask == "lungs" else ""
        return (
            f"{found}, no air or lung, but tissue around 1024: they seem to be HU + 1024; subtract 1024 "
            f"from the voxels, or give {_window_options(low + OFFSET, high + OFFSET, settings.outside + OFFSET)}{masks}"
        )
    if settings.mask != "lungs" and _fraction(image < FAT) > LEAST_AIR:
        return ""
    return f"{found}, no air or lung: they seem to be scaled or shifted; {HOUNSFIELD_ADVICE}"


def _check_window(image: Image, mask: Image | None, sample: IntensitySample, settings: ImageSettings) -> None:
    (low, high), values = settings.window, sample.compared
    region = f"inside {mask.name}" if mask is not None else "above its minimum"
    inside = _fraction((values >= low) & (values <= high))
    first, last = torch.quantile(values, torch.tensor([0.01, 0.99], dtype=torch.float64)).tolist()
    found, window = _range(first, last), f"the window {_range(low, high)}"
    spread = last - min(first, float(sample.all.min()))  # background included
    if inside < LEAST_INSIDE:
        problem = f"only {_percent(inside)} of the voxels {region} lie in {window}, most have values {found}"
        warn(f"{image.name}: {problem}; choose a --window that contains them", PlausibilityWarning)
    elif spread < LEAST_SPREAD * (high - low):
        problem = f"the voxels {region} have values {found}, {_percent(spread / (high - low))} of {window}"
        warn(f"{image.name}: {problem}: hardly any contrast is left; choose a smaller --window", PlausibilityWarning)
    elif mask is not None and settings.mask == "lungs" and _in_hounsfield(settings) and float(values.median()) > LUNG:
        problem = f"expected a mask of the lungs (-950 to -500 HU), found a median of {values.median():.0f} HU"
        warn(f"{mask.name}: {problem} in {image.name}; check that both belong together", PlausibilityWarning)


def _fraction(condition: Tensor) -> float:
    return float(condition.double().mean()) if len(condition) else 0.0


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2g} %"


def _window_options(low: float, high: float, outside: float) -> str:
    return f"--window {low:g} {high:g} --outside {outside:g}"


def _range(low: float, high: float) -> str:
    return f"{low:.5g} to {high:.5g}"
