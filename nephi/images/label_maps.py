"""Whether an image is a map of labels, by its numbers."""

from __future__ import annotations

import torch
from torch import Tensor

PLANES = 4  # that are looked at
COLUMNS = 256  # of each plane, at most
LEAST_VOXELS = 500  # above the background
MOST_LABELS = 256
AREAS = 0.6  # of neighbours that are equal: 0.8 in atlases of the brain, 0.1 in images of 8 bits


def looks_like_labels(data: Tensor) -> bool:
    """Return whether an image holds a few whole numbers of 0 and more in areas of equal ones, three at least.

    A mask of two numbers does not: averages of those, rounded, are the two. Looks at a few planes across the last axis.
    """
    n = data.shape[-1]
    planes = data if data.ndim == 2 else data[..., sorted({n * (2 * i + 1) // (2 * PLANES) for i in range(PLANES)})]
    planes = planes[:, :: max(1, planes.shape[1] // COLUMNS)]
    if data.dtype == torch.bool or bool(planes.min() < 0):
        return False
    first, second = planes[:-1], planes[1:]
    foreground = (first > 0) | (second > 0)
    count = int(foreground.sum())
    if count < LEAST_VOXELS or int((first == second)[foreground].sum()) < AREAS * count:
        return False
    if data.dtype.is_floating_point and not torch.equal(planes, planes.round()):
        return False
    return 3 <= len(torch.unique(planes)) <= MOST_LABELS
