"""Overlap of labels."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import PointMap
from nephi.images import Image, resample

MOST_COUNTED = 1_000_000  # beyond (atlases number up to 10^9), labels are counted by rank, not by value
FRACTION = 0.01  # scaled voxels of a file come out as 1.9999 sometimes
LARGEST = 2.0**63  # what int64 does not hold


def dice(fixed_labels: Image, moving_labels: Image, transform: PointMap) -> dict[int, float]:
    """Return Dice's coefficient `2 |A and B| / (|A| + |B|)` for every label both images hold, background 0 left out.

    Labels are whole numbers of 0 or more, exact up to 2^63. Moving labels are resampled on the fixed grid by nearest
    neighbour; `transform` takes fixed to moving points. Raises `DataError` for voxels that are no labels (NaN,
    infinite, fractions, negative) and when the images share no label.
    """
    fixed, source = _whole(fixed_labels), _whole(moving_labels)
    # All in one memory order, so that voxels meet their counterparts whatever order the files had.
    warped = resample(moving_labels, fixed_labels.grid, transform, "nearest").data.round().long().flatten()
    names = None
    if max(fixed.max(), source.max()) > MOST_COUNTED:
        names = torch.cat([fixed.new_zeros(1), fixed, source]).unique()
        fixed, source, warped = (torch.searchsorted(names, labels) for labels in (fixed, source, warped))
    size = int(max(fixed.max(), source.max())) + 1
    in_fixed, in_warped = torch.bincount(fixed, minlength=size), torch.bincount(warped, minlength=size)
    in_both = torch.bincount(fixed[fixed == warped], minlength=size)
    present = (in_fixed > 0) & (torch.bincount(source, minlength=size) > 0)
    labels = [label for label in present.nonzero().flatten().tolist() if label != 0]
    if not labels:
        raise DataError(
            f"{fixed_labels.name}, {moving_labels.name}: expected label maps that share a label, found none"
        )
    shares = [2 * int(in_both[label]) / int(in_fixed[label] + in_warped[label]) for label in labels]
    return dict(zip(labels if names is None else names[labels].tolist(), shares, strict=True))


def _whole(labels: Image) -> Tensor:
    """Return the labels as int64; raise `DataError` naming the image and the first voxel that is no label."""
    data = labels.data
    whole = data.round()
    negative = whole < 0
    if data.dtype.is_floating_point:
        wrong = (data - whole).abs() > FRACTION
        _refuse(labels, data.isnan(), "NaN", "write 0, the background, instead")
        _refuse(labels, data.abs() >= LARGEST, "infinite or too large numbers", "give these labels other numbers")
        _refuse(labels, wrong, "fractions", "are these intensities or probabilities? Give a label map")
    _refuse(labels, negative, "negative ones", "give these labels other numbers")
    return whole.long().flatten()


def _refuse(labels: Image, wrong: Tensor, what: str, advice: str) -> None:
    if not bool(wrong.any()):
        return
    first = tuple(wrong.nonzero()[0].tolist())
    value = f", the first ({labels.data[first].item():g}) at {first}"
    raise DataError(
        f"{labels.name}: expected whole numbers of 0 or more as labels, found {what} at {int(wrong.sum())} voxel(s)"
        f"{value}; {advice}"
    )
