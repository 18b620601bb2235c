"""Volume change smoothed for the eye, where linear interpolation lets the Jacobian jump from cell to cell."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from nephi.fields import StoredTransform
from nephi.metrics import is_folded

WIDTH = 0.5  # standard deviation in cells: steps of one cell disappear, changes over several cells remain
REACH = 3.0  # standard deviations to which the Gaussian is computed


def smoothing_width(stored: StoredTransform) -> float:
    """Return the standard deviation in mm of the Gaussian that hides the cells of a transform; 0 where none is needed.

    It is half a cell of the coarsest of the finest grids of its steps whose Jacobian jumps at the cells' borders.
    """
    steps = [step.forward for step in stored.steps if not step.forward.has_continuous_jacobian]
    cells = [cells for step in steps if (cells := step.cells) is not None]
    return WIDTH * max((float(grid.spacing.max()) for grid in cells), default=0.0)


def smoothed_determinants(determinants: NDArray[np.float32], *widths: float) -> NDArray[np.float32]:
    """Return determinants averaged geometrically by a Gaussian along the last axes.

    `widths` are its standard deviations in pixels along each of these axes; a single one is that of the last two.
    NaN (outside) and folds stay what they are, and contribute nothing: a fold is neither hidden nor spread.
    """
    by_axis = widths * 2 if len(widths) == 1 else widths
    folded = is_folded(determinants)
    counted = ~np.isnan(determinants) & ~folded
    if not any(by_axis) or not counted.any():
        return determinants
    logs, weights = np.log(np.where(counted, determinants, 1)), counted.astype(np.float32)
    for axis, width in enumerate(reversed(by_axis), start=1):
        logs, weights = (_blurred(values, -axis, width) for values in (logs, weights))
    return np.where(counted, np.exp(logs / np.maximum(weights, 1e-6)), determinants).astype(np.float32)


def _blurred(values: NDArray[np.float32], axis: int, width: float) -> NDArray[np.float32]:
    """Return values convolved with a Gaussian along an axis; 0 beyond the border."""
    reach = math.ceil(REACH * width)
    if not reach:
        return values
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float32) / width) ** 2)
    rows = torch.from_numpy(np.moveaxis(values, axis, -1).astype(np.float32, copy=False))
    lines = rows.reshape(-1, 1, rows.shape[-1])
    blurred = torch.nn.functional.conv1d(lines, (kernel / kernel.sum())[None, None], padding=reach)
    return np.moveaxis(blurred.reshape(rows.shape).numpy(), -1, axis)
