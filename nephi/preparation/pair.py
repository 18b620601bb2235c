"""The two images of a registration, checked and made ready."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.images import Image, Pyramid
from nephi.preparation.intensities import Window, check_intensities, intensity_window
from nephi.preparation.masks import compare_masks, found_mask, require_usable_mask
from nephi.settings import ImageSettings


@dataclass(frozen=True, eq=False)
class Pair:
    """Fixed and moving image with their masks (any grid, or None for everywhere), intensity windows and levels."""

    fixed: Image
    moving: Image
    fixed_mask: Image | None
    moving_mask: Image | None
    fixed_window: Window
    moving_window: Window
    fixed_levels: Pyramid
    moving_levels: Pyramid

    def with_moving_carried(self, matrix: Tensor) -> Pair:
        """Return the pair with the moving image (and its mask) placed elsewhere by a homogeneous world matrix."""
        levels = self.moving_levels.carried(matrix)
        mask = self.moving_mask
        if mask is not None:
            mask = mask.with_grid(mask.grid.transformed(matrix))
        return replace(self, moving=levels.image, moving_mask=mask, moving_levels=levels)

    def to(self, device: torch.device) -> Pair:
        """Return the pair with its images on `device`; masks stay where points are drawn, on the CPU."""
        if self.fixed.data.device == device:
            return self
        fixed, moving = (replace(i, data=i.data.to(device)) for i in (self.fixed, self.moving))
        detail = self.fixed_levels.detail
        levels = Pyramid(fixed, self.fixed_window, detail), Pyramid(moving, self.moving_window, detail)
        return replace(self, fixed=fixed, moving=moving, fixed_levels=levels[0], moving_levels=levels[1])


def make_pair(
    fixed: Image,
    moving: Image,
    fixed_mask: Image | None,
    moving_mask: Image | None,
    settings: ImageSettings,
    detail: float = 0.0,
) -> Pair:
    """Check two images and their masks, find masks where none are given, and choose the intensity windows.

    `detail` (mm) is the finest that will be compared; see `Pyramid`.
    Issues a `PlausibilityWarning` for intensities that do not suit window or units of the settings. Raises `DataError`
    for images of different dimension, non-finite or constant voxels, a window beyond all of them, a mask on another
    grid, an empty mask, one over nothing but background.
    """
    if fixed.dimension != moving.dimension:
        raise DataError(
            f"{fixed.name} is {fixed.dimension}-D and {moving.name} is {moving.dimension}-D: both must be the same"
        )
    for image in (fixed, moving):
        image.require_finite()
        image.require_contrast()
    for image, mask, other in ((fixed, fixed_mask, moving), (moving, moving_mask, fixed)):
        if mask is not None:
            require_usable_mask(mask, image, other)
        check_intensities(image, mask, settings)
    if fixed_mask is not None and moving_mask is not None:
        compare_masks(fixed_mask, moving_mask)
    masks = [m or found_mask(i, settings.mask) for i, m in ((fixed, fixed_mask), (moving, moving_mask))]
    windows = [intensity_window(i, m, settings) for i, m in zip((fixed, moving), masks, strict=True)]
    levels = Pyramid(fixed, windows[0], detail), Pyramid(moving, windows[1], detail)
    return Pair(fixed, moving, masks[0], masks[1], windows[0], windows[1], *levels)


def warnings_about(pair: Pair, found: Iterable[str]) -> tuple[str, ...]:
    """Return the warnings of the pair's images and masks, then those `found` on the way, each once."""
    images = (pair.fixed, pair.moving, pair.fixed_mask, pair.moving_mask)
    read = [text for image in images if image is not None for text in image.warnings]
    return tuple(dict.fromkeys([*read, *found]))
