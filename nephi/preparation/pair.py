"""The two images of a registration, read, validated and prepared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.images import Image, Pyramid
from nephi.preparation.guidance import Guidance, LabelSources, LandmarkSource, read_guidance
from nephi.preparation.intensities import Window, check_intensities, intensity_window
from nephi.preparation.masks import compare_masks, find_mask, require_usable_mask
from nephi.preparation.sources import Source, as_image
from nephi.settings import GuidanceSettings, ImageSettings, Settings, in_millimetres


@dataclass(frozen=True, eq=False)
class Pair:
    """Fixed and moving image with masks (on any grid; None: the whole image), intensity windows and pyramids.

    `guidance` are landmarks and labels that guide the registration.
    """

    fixed: Image
    moving: Image
    fixed_mask: Image | None
    moving_mask: Image | None
    fixed_window: Window
    moving_window: Window
    fixed_levels: Pyramid
    moving_levels: Pyramid
    guidance: Guidance = Guidance()  # noqa: RUF009 (frozen)

    @property
    def landmark_accuracy(self) -> float:
        """Half of the longest voxel edge of both images, mm: points are hardly set more accurately."""
        return 0.5 * max(float(image.grid.spacing.max()) for image in (self.fixed, self.moving))

    def with_moving_transformed(self, matrix: Tensor) -> Pair:
        """Return the pair with the moving image and all that belongs to it placed by a homogeneous world matrix.

        Nothing is resampled.
        """
        levels = self.moving_levels.transformed(matrix)
        mask = self.moving_mask
        if mask is not None:
            mask = mask.with_grid(mask.grid.transformed(matrix))
        guidance = self.guidance.with_moving_transformed(matrix)
        return replace(self, moving=levels.image, moving_mask=mask, moving_levels=levels, guidance=guidance)

    def to(self, device: torch.device) -> Pair:
        """Return the pair with its images on `device`; masks stay on the CPU, where points are sampled."""
        if self.fixed.data.device == device:
            return self
        fixed, moving = (replace(i, data=i.data.to(device)) for i in (self.fixed, self.moving))
        detail = self.fixed_levels.detail
        levels = Pyramid(fixed, self.fixed_window, detail), Pyramid(moving, self.moving_window, detail)
        guidance = self.guidance.to(device)
        return replace(
            self, fixed=fixed, moving=moving, fixed_levels=levels[0], moving_levels=levels[1], guidance=guidance
        )


def prepare_pair(
    fixed: Source,
    moving: Source,
    fixed_mask: Source | None,
    moving_mask: Source | None,
    settings: Settings,
    guide_landmarks: LandmarkSource | None = None,
    guide_labels: LabelSources | None = None,
) -> tuple[Pair, Settings]:
    """Read images, masks and guidance and validate them; return the pair, and the settings with lengths in mm.

    Masks are segmented where none are given. Raises `DataError` for files that cannot be read, and images, masks,
    landmarks or labels that `make_pair` or `read_guidance` refuse.
    """
    fixed_image, moving_image = as_image(fixed), as_image(moving)
    masks = [None if mask is None else as_image(mask) for mask in (fixed_mask, moving_mask)]
    settings = in_millimetres(settings, fixed_image.grid)
    pair = make_pair(fixed_image, moving_image, masks[0], masks[1], settings.image, settings.detail)
    guidance = read_guidance(guide_landmarks, guide_labels, fixed_image, moving_image)
    if not guidance:  # results hold the settings that were used
        settings = replace(settings, guidance=GuidanceSettings())
    return replace(pair, guidance=guidance), settings


def make_pair(
    fixed: Image,
    moving: Image,
    fixed_mask: Image | None,
    moving_mask: Image | None,
    settings: ImageSettings,
    detail: float = 0.0,
) -> Pair:
    """Validate two images and their masks, segment masks where none are given, and choose the intensity windows.

    `detail` (mm) is the finest structure that is compared; see `Pyramid`.
    Issues a `PlausibilityWarning` for intensities that do not match the window or units of the settings. Raises
    `DataError` for images of different dimension, non-finite or constant voxels, a window without any voxel, a mask on
    another grid, an empty mask, or one that contains only background.
    """
    if fixed.dimension != moving.dimension:
        raise DataError(
            f"expected two images of the same dimension, got {fixed.name} ({fixed.dimension}-D) and {moving.name} "
            f"({moving.dimension}-D)"
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
    masks = [m or find_mask(i, settings.mask) for i, m in ((fixed, fixed_mask), (moving, moving_mask))]
    windows = [intensity_window(i, m, settings) for i, m in zip((fixed, moving), masks, strict=True)]
    levels = Pyramid(fixed, windows[0], detail), Pyramid(moving, windows[1], detail)
    return Pair(fixed, moving, masks[0], masks[1], windows[0], windows[1], *levels)


def pair_warnings(pair: Pair, issued: Iterable[str]) -> tuple[str, ...]:
    """Return the warnings from reading the images and masks, then those `issued` later, without duplicates."""
    images = (pair.fixed, pair.moving, pair.fixed_mask, pair.moving_mask)
    read = [text for image in images if image is not None for text in image.warnings]
    return tuple(dict.fromkeys([*read, *issued]))
