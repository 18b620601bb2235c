"""The deformation grid: lines on which a coordinate of the mapped point is a multiple of a spacing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def lattice_lines(coordinates: NDArray[np.float32], spacing: float) -> NDArray[np.uint8]:
    """Return how strongly each pixel `(H, W)` is covered by a line, 0 to 255.

    `coordinates` `(H, W, 2)` in mm says where each pixel goes; a regular lattice of `spacing` mm over there is drawn
    here, so the lines run with what the registration did to the picture. Lines are one pixel wide with soft borders.
    """
    covered = np.zeros(coordinates.shape[:2], dtype=np.float32)
    for i in range(2):
        phase = coordinates[..., i] / spacing
        slopes = [np.gradient(phase, axis=a) if phase.shape[a] > 1 else np.zeros_like(phase) for a in (0, 1)]
        apart = np.abs(phase - np.round(phase)) / np.maximum(np.hypot(*slopes), 1e-6)  # pixels to the nearest line
        covered = np.maximum(covered, np.clip(1.25 - apart, 0, 1))
    return np.round(covered * 255).astype(np.uint8)
