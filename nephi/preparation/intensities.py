"""Intensities of an image: the window that is compared, and whether they are plausible in it and in their units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.errors import DataError, PlausibilityWarning, warn
from nephi.images import Image
from nephi.settings import ImageSettings

Window = tuple[float, float]

WINDOW_VOXELS = 300_000  # whose percentiles stand for the image's
LEAST_BEYOND = 1e-5  # of the image's voxels above the window's lower end, and below its upper one
LEAST_INSIDE = 0.1  # of the compared voxels between both ends of the window
LEAST_SPREAD = 0.02  # of the window that the voxels take up, from their least to their 99th percentile
LEAST_SHARE = 1e-3  # of a CT's voxels that are air, lung or, without these, fat
AIR_OR_LUNG = -300.0  # HU, and below
FAT = -50.0  # HU, and below
TISSUE = (-200.0, 300.0)  # HU
LEAST_TISSUE = 0.02  # of a CT's voxels
HOUNSFIELD_ADVICE = "give the image in HU, a --window within its values, or --preset generic"
OFFSET = 1024.0  # that scanners and DIR-Lab's raw files add to Hounsfield units
LUNG = -200.0  # HU; the median inside a mask of lungs, vessels included, lies far below


@dataclass(frozen=True, eq=False)
class IntensitySample:
    """Every n-th voxel of an image, float64: `all` of them `(N,)`, and the `compared` ones among them `(M,)`.

    Compared are the voxels above the smallest value, the background, and inside the mask where there is one of the same
    shape.
    """

    all: Tensor
    compared: Tensor


def sampled_intensities(image: Image, mask: Image | None) -> IntensitySample:
    """Sample at most about `WINDOW_VOXELS` voxels of an image; percentiles need no more."""
    step = max(1, round((image.grid.size / WINDOW_VOXELS) ** (1 / image.dimension)))
    thinned = (slice(None, None, step),) * image.dimension
    values = image.data[thinned]
    kept = values > image.data.amin()
    if mask is not None and mask.grid.shape == image.grid.shape:
        kept = kept & (mask.data[thinned] > 0)
    return IntensitySample(values.double().flatten(), values[kept].double())


def intensity_window(image: Image, mask: Image | None, settings: ImageSettings) -> Window:
    """Return the intensities `(low, high)` between which an image is compared: those set, else percentiles of it.

    Percentiles are of the voxels above the smallest value, the background, and inside `mask` (of the image's grid).
    """
    if settings.window:
        low, high = settings.window
        return low, high
    sample = sampled_intensities(image, mask).compared
    if len(sample) == 0:  # the mask is smaller than what was left out
        return float(image.data.amin()), float(image.data.amax())
    low, high = torch.quantile(sample, torch.tensor(settings.percentiles, dtype=torch.float64) / 100).tolist()
    if not low < high:
        low, high = float(image.data.amin()), float(image.data.amax())
    return low, high


def check_intensities(image: Image, mask: Image | None, settings: ImageSettings) -> None:
    """Warn of intensities that do not suit the window or the units of the settings; `mask` is one that was given.

    Issues a `PlausibilityWarning` when next to none of the compared voxels (see `IntensitySample`) lie in a window that
    was set, when they take up next to nothing of it, when an image of `units = "HU"` is not in Hounsfield units, or
    when what should be a mask of lungs holds no lung. Raises `DataError` when the whole image lies beyond one end of
    the window: nothing to align.
    """
    if not settings.window:
        return
    sample = sampled_intensities(image, mask)
    _require_contrast(image, sample, settings.window)
    if _in_hounsfield(settings) and (problem := _not_hounsfield(sample, settings)):
        warn(
            f"{image.name}: expected a CT in Hounsfield units (air -1000, water 0), as the settings' window "
            f"{_range(*settings.window)} counts; {problem}",
            PlausibilityWarning,
        )
    elif len(sample.compared):
        _check_window(image, mask, sample, settings)


def _require_contrast(image: Image, sample: IntensitySample, window: tuple[float, ...]) -> None:
    low, high = window
    above, below = _share(sample.all > low), _share(sample.all < high)
    if min(above, below) < LEAST_BEYOND:
        raise DataError(
            f"{image.name}: expected intensities inside the window {_range(low, high)}, found values "
            f"{_range(float(image.data.amin()), float(image.data.amax()))}, of which "
            f"{100 * (1 - min(above, below)):.4g} % lie beyond one end of it: nothing to align; choose a --window "
            "within the values, or a preset without one"
        )


def _in_hounsfield(settings: ImageSettings) -> bool:
    """Return whether the window counts in HU; one from 0 or more was chosen for shifted or scaled values."""
    return settings.units == "HU" and settings.window[0] < 0


def _not_hounsfield(sample: IntensitySample, settings: ImageSettings) -> str:
    """Return why the values are no Hounsfield units, and what to do; empty if they may be some."""
    low, high = settings.window
    values = sample.compared if len(sample.compared) else sample.all
    least, most = torch.quantile(values, torch.tensor([0.001, 0.999], dtype=torch.float64)).tolist()
    found = f"found values {_range(least, most)}"
    if most - least < LEAST_SPREAD * (high - low):
        return f"{found}, {_percent((most - least) / (high - low))} of it: they seem to be scaled; {HOUNSFIELD_ADVICE}"
    image = sample.all[sample.all > sample.all.min()]  # without the padding of scanners, -2048 say
    if _share(image < AIR_OR_LUNG) > LEAST_SHARE:
        return ""
    tissue = (image > TISSUE[0] + OFFSET) & (image < TISSUE[1] + OFFSET)
    if min(_share(tissue), _share(image < TISSUE[0] + OFFSET)) > LEAST_TISSUE:
        masks = ", with masks of the lungs" if settings.mask == "lungs" else ""
        return (
            f"{found} and nothing like air or lung, but tissue around 1024: they look like HU + 1024; subtract 1024 "
            f"from the voxels, or give {_options(low + OFFSET, high + OFFSET, settings.outside + OFFSET)}{masks}"
        )
    if settings.mask != "lungs" and _share(image < FAT) > LEAST_SHARE:
        return ""
    return f"{found} and nothing like air or lung: they seem to be scaled or shifted; {HOUNSFIELD_ADVICE}"


def _check_window(image: Image, mask: Image | None, sample: IntensitySample, settings: ImageSettings) -> None:
    (low, high), values = settings.window, sample.compared
    where = f"inside {mask.name}" if mask is not None else "above its smallest value"
    inside = _share((values >= low) & (values <= high))
    first, last = torch.quantile(values, torch.tensor([0.01, 0.99], dtype=torch.float64)).tolist()
    found, window = _range(first, last), f"the window {_range(low, high)}"
    if inside < LEAST_INSIDE:
        problem = f"only {_percent(inside)} of the voxels {where} lie in {window}, most values are {found}; choose a "
        warn(f"{image.name}: {problem}--window that holds them", PlausibilityWarning)
    elif (spread := last - min(first, float(sample.all.min()))) < LEAST_SPREAD * (high - low):  # background included
        problem = f"the voxels {where} have values {found}, {_percent(spread / (high - low))} of {window}"
        warn(f"{image.name}: {problem}, so that no contrast is left; choose a smaller --window", PlausibilityWarning)
    elif mask is not None and settings.mask == "lungs" and _in_hounsfield(settings) and float(values.median()) > LUNG:
        problem = f"expected a mask of the lungs (-950 to -500 HU), found a median of {values.median():.0f} HU"
        warn(f"{mask.name}: {problem} in {image.name}; check that both belong together", PlausibilityWarning)


def _share(chosen: Tensor) -> float:
    return float(chosen.double().mean()) if len(chosen) else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _options(low: float, high: float, outside: float) -> str:
    return f"--window {low:g} {high:g} --outside {outside:g}"


def _range(low: float, high: float) -> str:
    return f"{low:.5g} to {high:.5g}"
