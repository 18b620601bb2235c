"""Detection of label maps by their values."""

from __future__ import annotations

import torch
from torch import Tensor

PLANES = 4  # examined planes
COLUMNS = 256  # largest number of columns of each plane
MIN_VOXELS = 500  # above the background
MAX_LABELS = 256
MIN_EQUAL = 0.6  # fraction of equal neighbours: 0.8 in atlases of the brain, 0.1 in 8-bit images


def looks_like_labels(data: Tensor) -> bool:
    """Return whether an image consists of uniform areas of at least three different whole numbers of 0 or more.

    A mask of two numbers is not a label map here: rounded averages are one of both. Only a few planes across the last
    axis are examined.
    """
    n = data.shape[-1]
    planes = data if data.ndim == 2 else data[..., sorted({n * (2 * i + 1) // (2 * PLANES) for i in range(PLANES)})]
    planes = planes[:, :: max(1, planes.shape[1] // COLUMNS)]
    if data.dtype == torch.bool or bool(planes.min() < 0):
        return False
    first, second = planes[:-1], planes[1:]
    foreground = (first > 0) | (second > 0)
    count = int(foreground.sum())
    if count < MIN_VOXELS or int((first == second)[foreground].sum()) < MIN_EQUAL * count:
        return False
    if data.dtype.is_floating_point and not torch.equal(planes, planes.round()):
        return False
    return 3 <= len(torch.unique(planes)) <= MAX_LABELS
