"""Overlap of labels."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import PointMap
from nephi.images import Image, resample

MOST_COUNTED = 1_000_000  # beyond (atlases number up to 10^9), labels are counted by rank, not by value


def dice(fixed_labels: Image, moving_labels: Image, transform: PointMap) -> dict[int, float]:
    """Return Dice's coefficient `2 |A and B| / (|A| + |B|)` for every label both images hold, background 0 left out.

    Moving labels are carried to the fixed grid by nearest neighbour; `transform` takes fixed to moving points.
    Raises `DataError` when the images share no label.
    """
    # All in one memory order, so that voxels meet their counterparts whatever order the files had.
    warped = _whole(resample(moving_labels, fixed_labels.grid, transform, "nearest"))
    fixed, source = _whole(fixed_labels), _whole(moving_labels)
    if min(int(fixed.min()), int(source.min())) < 0:
        raise DataError(f"{fixed_labels.name}, {moving_labels.name}: expected labels of 0 or more, found negative ones")
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
    shares = [(2 * in_both[label] / (in_fixed[label] + in_warped[label])).item() for label in labels]
    return dict(zip(labels if names is None else names[labels].tolist(), shares, strict=True))


def _whole(labels: Image) -> Tensor:
    return labels.data.round().long().flatten()
