"""Finding the lungs in a CT."""

from __future__ import annotations

import numpy as np
import torch

from nephi.errors import DataError
from nephi.images.image import Image
from nephi.images.pyramid import smoothed

RESOLUTION = 3.0  # mm; the mask steers where points are drawn, it is no segmentation to measure with
AIR_OR_LUNG = -400.0  # HU: below it lung or air, above it tissue
OUTSIDE_AIR = -960.0  # HU: a smoothed region that holds less than lung does is air around the body, or padding
SMALLEST = {2: 1000.0, 3: 50_000.0}  # mm^2 of a slice, mm^3


def find_lungs(image: Image) -> Image:
    """Return a mask (uint8, 1 inside) of the lungs in a chest CT in Hounsfield units, on a grid of about 3 mm.

    Regions below -400 HU are split into connected parts; parts a quarter of which is as empty as air (below -960 HU)
    are the surroundings or padding, small ones are bowel gas. What is left is closed over its vessels and its
    holes are filled. Works on crops that cut through a lung.

    Raises `DataError` when no lung is found.
    """
    from scipy import ndimage

    coarse = smoothed(image, RESOLUTION)
    values = coarse.data.numpy()
    d = values.ndim
    parts, _ = ndimage.label(values < AIR_OR_LUNG)
    voxel = float(coarse.grid.spacing.prod())
    found = np.zeros(values.shape, bool)
    for label, box in enumerate(ndimage.find_objects(parts), start=1):
        inside = parts[box] == label
        if inside.sum() * voxel > SMALLEST[d] and np.quantile(values[box][inside], 0.25) > OUTSIDE_AIR:
            found[box] |= inside
    if not found.any():
        raise DataError(
            f"{image.name}: found no lungs between {OUTSIDE_AIR:.0f} and {AIR_OR_LUNG:.0f} HU; "
            "give a mask, or choose a preset for another anatomy (is the image in Hounsfield units?)"
        )
    ball = _ball([max(1, round(9.0 / float(s))) for s in coarse.grid.spacing])
    margin = max(ball.shape)
    closed = ndimage.binary_closing(np.pad(found, margin, mode="edge"), ball)
    closed = ndimage.binary_fill_holes(closed)[(slice(margin, -margin),) * d]
    return coarse.with_data(torch.from_numpy(closed.astype(np.uint8)))


def _ball(radii: list[int]) -> np.ndarray:
    axes = np.meshgrid(*[np.arange(-r, r + 1) / r for r in radii], indexing="ij")
    return np.asarray(np.square(axes).sum(axis=0) <= 1.0)
