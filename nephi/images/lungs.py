"""Segmentation of the lungs in a CT."""

from __future__ import annotations

import numpy as np
import torch

from nephi.errors import DataError
from nephi.images.image import Image
from nephi.images.pyramid import smoothed

RESOLUTION = 3.0  # mm: sufficient for sampling points, not for measuring volumes
AIR_OR_LUNG = -400.0  # HU: lung or air below, tissue above
OUTSIDE_AIR = -970.0  # HU: air around the body is at -1000, the core of an emphysematous lung at about -945
MIN_SIZE = {2: 1000.0, 3: 50_000.0}  # mm^2 in a slice, mm^3 in a volume
MIN_FRACTION = 0.1  # of the largest lung: smaller regions are air at the edge of a crop, or bowel gas


def find_lungs(image: Image) -> Image:
    """Segment the lungs in a chest CT in Hounsfield units: return a mask (uint8, 1 inside) on a grid of about 3 mm.

    Connected regions below -400 HU are lungs unless their core has the density of air (surroundings, padding) or they
    are small (air at the edge, bowel gas). A morphological closing adds the vessels, and holes are filled. Crops that
    cut through a lung are supported.

    Raises `DataError` when no lung is found.
    """
    from scipy import ndimage

    coarse = smoothed(image, RESOLUTION)
    lungs = _lung_parts(coarse.data.numpy(), float(coarse.grid.spacing.prod()))
    if not lungs.any():
        raise DataError(
            f"{image.name}: expected lungs between {OUTSIDE_AIR:.0f} and {AIR_OR_LUNG:.0f} HU, found none; "
            "give a mask, or choose a preset for another anatomy "
            "(is the image in Hounsfield units, and its header in mm?)"
        )
    ball = _ball([max(1, round(9.0 / float(s))) for s in coarse.grid.spacing])
    margin = max(ball.shape)
    closed = ndimage.binary_closing(np.pad(lungs, margin, mode="edge"), ball)
    closed = ndimage.binary_fill_holes(closed)[(slice(margin, -margin),) * lungs.ndim]
    return coarse.with_data(torch.from_numpy(closed.astype(np.uint8)))


def _lung_parts(values: np.ndarray, voxel: float) -> np.ndarray:
    """Return a bool array that is true in lungs; `voxel` is the size of a voxel in mm^3 (2-D: mm^2)."""
    from scipy import ndimage

    parts, _ = ndimage.label(values < AIR_OR_LUNG)
    sizes: dict[int, int] = {}
    for label, box in enumerate(ndimage.find_objects(parts), start=1):
        inside = parts[box] == label
        if inside.sum() * voxel < MIN_SIZE[values.ndim]:
            continue
        # The core distinguishes air from lung; the rim contains tissue. Lungs may continue beyond the edge of a crop.
        core = ndimage.binary_erosion(inside, iterations=2, border_value=1)
        if core.any() and np.median(values[box][core]) > OUTSIDE_AIR:
            sizes[label] = int(inside.sum())
    return np.isin(parts, [label for label, size in sizes.items() if size > MIN_FRACTION * max(sizes.values())])


def _ball(radii: list[int]) -> np.ndarray:
    axes = np.meshgrid(*[np.arange(-r, r + 1) / r for r in radii], indexing="ij")
    return np.asarray(np.square(axes).sum(axis=0) <= 1.0)
