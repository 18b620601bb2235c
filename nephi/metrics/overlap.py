"""Overlap of labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import PointMap
from nephi.images import Image, resample

LARGEST_COUNTED = 1_000_000  # larger labels (up to 10^9 in atlases) are counted by rank, to save memory
ROUNDING = 0.01  # largest distance from a whole number: scaled voxels of a file may be 1.9999
INT64_LIMIT = 2.0**63


def dice(fixed_labels: Image, moving_labels: Image, transform: PointMap) -> dict[int, float]:
    """Return the Dice coefficient `2 |A and B| / (|A| + |B|)` of every label that both images contain, except 0.

    Labels are whole numbers of 0 or more, exact up to 2^63. Moving labels are resampled to the fixed grid by nearest
    neighbour; `transform` maps fixed to moving points. Raises `DataError` for voxels that are no labels (NaN,
    infinite, fractional, negative) and when the images share no label.
    """
    fixed = label_numbers(fixed_labels)
    shared = shared_labels(fixed_labels, moving_labels)
    return dice_of(fixed, warped_numbers(fixed_labels, moving_labels, transform), shared)


def shared_labels(fixed_labels: Image, moving_labels: Image) -> list[int]:
    """Return the labels other than 0 that both images contain, in ascending order; raises the errors of `dice`."""
    present = [set(_numbers_in(label_numbers(image))) for image in (fixed_labels, moving_labels)]
    shared = sorted((present[0] & present[1]) - {0})
    if not shared:
        raise DataError(
            f"{fixed_labels.name}, {moving_labels.name}: expected label maps that share a label, found none"
        )
    return shared


def _numbers_in(labels: Tensor) -> list[int]:
    """Return the numbers that occur; by counting, which is faster than sorting, if that needs little memory."""
    if int(labels.max()) > LARGEST_COUNTED:
        return labels.unique().tolist()
    return torch.bincount(labels.flatten()).nonzero().flatten().tolist()


def warped_numbers(fixed_labels: Image, moving_labels: Image, transform: PointMap) -> Tensor:
    """Return the moving labels on the fixed grid as int64, by nearest neighbour; `transform` maps fixed points."""
    return resample(moving_labels, fixed_labels.grid, transform, "nearest").data.round().long()


def dice_of(first: Tensor, second: Tensor, labels: Sequence[int]) -> dict[int, float]:
    """Return the Dice coefficients of `labels` between two maps of whole numbers, of which one contains each label."""
    # `flatten` orders voxels by index, so that they correspond whatever memory order the files had.
    first, second = first.flatten(), second.flatten()
    numbers = torch.tensor(labels, dtype=torch.int64)
    if max(int(first.max()), int(second.max())) > LARGEST_COUNTED:
        values = torch.cat([numbers.new_zeros(1), first, second]).unique()
        first, second, numbers = (torch.searchsorted(values, part) for part in (first, second, numbers))
    size = int(max(first.max(), second.max(), numbers.max())) + 1
    in_first, in_second = torch.bincount(first, minlength=size), torch.bincount(second, minlength=size)
    in_both = torch.bincount(first[first == second], minlength=size)
    coefficients = 2 * in_both[numbers].double() / (in_first + in_second)[numbers]
    return dict(zip(labels, coefficients.tolist(), strict=True))


def label_numbers(labels: Image) -> Tensor:
    """Return the labels as int64 `(*shape)`; raise `DataError` naming the image and the first voxel that is none."""
    data = labels.data
    rounded = data.round()
    if data.dtype.is_floating_point:
        fractional = (data - rounded).abs() > ROUNDING
        _require_none(labels, data.isnan(), "NaN", "write 0, the background, instead")
        _require_none(
            labels, data.abs() >= INT64_LIMIT, "infinite or too large numbers", "give these labels other numbers"
        )
        _require_none(labels, fractional, "fractions", "are these intensities or probabilities? Give a label map")
    _require_none(labels, rounded < 0, "negative numbers", "give these labels other numbers")
    return rounded.long()


def _require_none(labels: Image, invalid: Tensor, kind: str, advice: str) -> None:
    """Raise `DataError` when a voxel is `invalid`; `kind` describes such voxels."""
    if not bool(invalid.any()):
        return
    first = tuple(invalid.nonzero()[0].tolist())
    raise DataError(
        f"{labels.name}: expected whole numbers of 0 or more as labels, found {kind} at {int(invalid.sum())} voxel(s), "
        f"the first ({labels.data[first].item():g}) at {first}; {advice}"
    )
