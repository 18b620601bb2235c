"""Dilation of masks."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

MASK_MARGIN_MM = 10.0


def widened(path: Path) -> sitk.Image:
    """Dilate the mask by the margin, so that it includes the borders of the lungs."""
    mask = sitk.ReadImage(path, sitk.sitkUInt8) > 0
    distance = sitk.SignedMaurerDistanceMap(mask, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    return distance <= MASK_MARGIN_MM
