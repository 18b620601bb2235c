"""What drivers do to masks."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

MASK_MARGIN_MM = 10.0


def widened(path: Path) -> sitk.Image:
    """Return the mask, every point within the margin of it included, so that the borders of the lungs count."""
    mask = sitk.ReadImage(path, sitk.sitkUInt8) > 0
    distance = sitk.SignedMaurerDistanceMap(mask, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    return distance <= MASK_MARGIN_MM
