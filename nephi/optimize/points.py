"""Where an image's points are drawn."""

from __future__ import annotations

from nephi.images import Image
from nephi.sampling import GridPoints, MaskPoints, PointSource


def point_source(image: Image, mask: Image | None) -> PointSource:
    """Return where points of an image are drawn: in its mask, or everywhere."""
    return GridPoints(image.grid) if mask is None else MaskPoints(mask)
