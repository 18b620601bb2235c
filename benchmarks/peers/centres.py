"""Centres of images."""

from __future__ import annotations

import SimpleITK as sitk


def centre_shift(fixed: sitk.Image, moving: sitk.Image) -> list[float]:
    """Return the translation, LPS mm, from the centre of the fixed image to that of the moving one."""
    ends = [_centre(moving), _centre(fixed)]
    return [m - f for m, f in zip(*ends, strict=True)]


def _centre(image: sitk.Image) -> tuple[float, ...]:
    middle = [(size - 1) / 2 for size in image.GetSize()]
    return tuple(image.TransformContinuousIndexToPhysicalPoint(middle))
