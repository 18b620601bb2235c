"""Two pictures in one: a checkerboard of them, and their difference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]


def checkerboard(one: Grey, other: Grey, tile: int) -> Grey:
    """Return a picture `(H, W)` in squares of `tile` pixels, from `one` (the first corner) and `other` in turn."""
    rows, columns = (np.arange(n) // tile for n in one.shape)
    return np.where((rows[:, None] + columns) % 2 == 0, one, other)


def difference(one: Grey, other: Grey) -> Grey:
    """Return how far apart two pictures `(H, W)` are, pixel by pixel, 0 to 255."""
    return np.abs(one.astype(np.int16) - other).astype(np.uint8)
