"""Overlap of labels."""

from __future__ import annotations

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
    # `flatten` orders voxels by index, so that they correspond whatever memory order the files had.
    fixed, source = label_numbers(fixed_labels).flatten(), label_numbers(moving_labels).flatten()
    warped = resample(moving_labels, fixed_labels.grid, transform, "nearest").data.round().long().flatten()
    values = None
    if max(fixed.max(), source.max()) > LARGEST_COUNTED:
        values = torch.cat([fixed.new_zeros(1), fixed, source]).unique()
        fixed, source, warped = (torch.searchsorted(values, labels) for labels in (fixed, source, warped))
    size = int(max(fixed.max(), source.max())) + 1
    in_fixed, in_warped = torch.bincount(fixed, minlength=size), torch.bincount(warped, minlength=size)
    in_both = torch.bincount(fixed[fixed == warped], minlength=size)
    present = (in_fixed > 0) & (torch.bincount(source, minlength=size) > 0)
    labels = [label for label in present.nonzero().flatten().tolist() if label != 0]
    if not labels:
        raise DataError(
            f"{fixed_labels.name}, {moving_labels.name}: expected label maps that share a label, found none"
        )
    coefficients = [2 * int(in_both[label]) / int(in_fixed[label] + in_warped[label]) for label in labels]
    return dict(zip(labels if values is None else values[labels].tolist(), coefficients, strict=True))


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
