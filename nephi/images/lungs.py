"""Finding the lungs in a CT."""

from __future__ import annotations

import numpy as np
import torch

from nephi.errors import DataError
from nephi.images.image import Image
from nephi.images.pyramid import smoothed

RESOLUTION = 3.0  # mm; the mask steers where points are drawn, it is no segmentation to measure with
AIR_OR_LUNG = -400.0  # HU: below it lung or air, above it tissue
OUTSIDE_AIR = -970.0  # HU; the core of an emphysematous lung reaches about -945, air around the body is at -1000
SMALLEST = {2: 1000.0, 3: 50_000.0}  # mm^2 of a slice, mm^3
SHARE = 0.1  # of the largest lung: what is smaller is a sliver of air at a crop's edge, or bowel gas


def find_lungs(image: Image) -> Image:
    """Return a mask (uint8, 1 inside) of the lungs in a chest CT in Hounsfield units, on a grid of about 3 mm.

    Regions below -400 HU are split into connected parts; parts whose core is as empty as air are the surroundings or
    padding, small ones are slivers of it or bowel gas. What is left is closed over its vessels and its holes are
    filled. Works on crops that cut through a lung.

    Raises `DataError` when no lung is found.
    """
    from scipy import ndimage

    coarse = smoothed(image, RESOLUTION)
    lungs = _lung_parts(coarse.data.numpy(), float(coarse.grid.spacing.prod()))
    if not lungs.any():
        raise DataError(
            f"{image.name}: found no lungs between {OUTSIDE_AIR:.0f} and {AIR_OR_LUNG:.0f} HU; "
            "give a mask, or choose a preset for another anatomy (is the image in Hounsfield units?)"
        )
    ball = _ball([max(1, round(9.0 / float(s))) for s in coarse.grid.spacing])
    margin = max(ball.shape)
    closed = ndimage.binary_closing(np.pad(lungs, margin, mode="edge"), ball)
    closed = ndimage.binary_fill_holes(closed)[(slice(margin, -margin),) * lungs.ndim]
    return coarse.with_data(torch.from_numpy(closed.astype(np.uint8)))


def _lung_parts(values: np.ndarray, voxel: float) -> np.ndarray:
    """Return which voxels belong to lungs; `voxel` is the size of one in mm^3 (2-D: mm^2)."""
    from scipy import ndimage

    parts, _ = ndimage.label(values < AIR_OR_LUNG)
    kept: dict[int, int] = {}
    for label, box in enumerate(ndimage.find_objects(parts), start=1):
        inside = parts[box] == label
        if inside.sum() * voxel < SMALLEST[values.ndim]:
            continue
        # The rim is half tissue; the core tells air from lung. Lungs go on beyond the edge of a crop.
        core = ndimage.binary_erosion(inside, iterations=2, border_value=1)
        if core.any() and np.median(values[box][core]) > OUTSIDE_AIR:
            kept[label] = int(inside.sum())
    return np.isin(parts, [label for label, size in kept.items() if size > SHARE * max(kept.values())])


def _ball(radii: list[int]) -> np.ndarray:
    axes = np.meshgrid(*[np.arange(-r, r + 1) / r for r in radii], indexing="ij")
    return np.asarray(np.square(axes).sum(axis=0) <= 1.0)
