"""The two images of a registration, read, validated and prepared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nephi.errors import DataError, PlausibilityWarning, UsageError, warn
from nephi.images import Image, Pyramid, detail_length
from nephi.io import ImageLike, ImagesLike, LabelsLike, PointPairsLike, as_image, as_images
from nephi.preparation.guidance import Guidance, read_guidance
from nephi.preparation.intensities import Window, check_intensities, intensity_window
from nephi.preparation.masks import compare_masks, find_mask, require_usable_mask
from nephi.sampling import point_source
from nephi.settings import GuidanceSettings, ImageSettings, Settings, for_channel, in_millimetres

PLACE_POINTS = 1000  # at which the place of a further channel is measured
LEAST_SHARED = 0.5  # fraction of the first channel that a further one should show


@dataclass(frozen=True, eq=False)
class Pair:
    """Fixed and moving image with masks (on any grid; None: the whole image), intensity windows and pyramids.

    `guidance` are landmarks and labels that guide the registration, `channels` further pairs of images of the same
    anatomy, in the same worlds, that are compared together with this one. `detail_length` (mm) is the larger one of
    both images, 0 if the settings do not depend on it.
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
    channels: tuple[Channel, ...] = ()
    detail_length: float = 0.0

    def __repr__(self) -> str:
        """Return both images in a few lines."""
        return f"Pair(\n  fixed: {self.fixed!r}\n  moving: {self.moving!r}\n)"

    def landmark_accuracy(self, settings: GuidanceSettings) -> float:
        """Return the accuracy of guiding landmarks, mm: that of the settings, or half of the longest voxel edge."""
        return settings.accuracy or 0.5 * max(float(image.grid.spacing.max()) for image in (self.fixed, self.moving))

    def with_moving_transformed(self, matrix: Tensor) -> Pair:
        """Return the pair with the moving image and all that belongs to it placed by a homogeneous world matrix.

        Nothing is resampled.
        """
        levels = self.moving_levels.transformed(matrix)
        mask = self.moving_mask
        if mask is not None:
            mask = mask.with_grid(mask.grid.transformed(matrix))
        guidance = self.guidance.with_moving_transformed(matrix)
        channels = tuple(
            channel.with_images(channel.images.with_moving_transformed(matrix)) for channel in self.channels
        )
        return replace(
            self,
            moving=levels.image,
            moving_mask=mask,
            moving_levels=levels,
            guidance=guidance,
            channels=channels,
        )

    def with_detail(self, detail: float) -> Pair:
        """Return the pair with pyramids for `detail` (mm), the finest structure that is compared; see `Pyramid`."""
        levels = Pyramid(self.fixed, self.fixed_window, detail), Pyramid(self.moving, self.moving_window, detail)
        return replace(self, fixed_levels=levels[0], moving_levels=levels[1])

    def to(self, device: torch.device) -> Pair:
        """Return the pair with its images on `device`; masks stay on the CPU, where points are sampled."""
        if self.fixed.data.device == device:
            return self
        fixed, moving = (replace(i, data=i.data.to(device)) for i in (self.fixed, self.moving))
        detail = self.fixed_levels.detail
        levels = Pyramid(fixed, self.fixed_window, detail), Pyramid(moving, self.moving_window, detail)
        guidance = self.guidance.to(device)
        channels = tuple(channel.with_images(channel.images.to(device)) for channel in self.channels)
        return replace(
            self,
            fixed=fixed,
            moving=moving,
            fixed_levels=levels[0],
            moving_levels=levels[1],
            guidance=guidance,
            channels=channels,
        )


@dataclass(frozen=True, eq=False)
class Channel:
    """A further pair of images, with the settings of its similarity and intensities, lengths in mm.

    Its masks are those of the first channel.
    """

    images: Pair
    settings: Settings

    def with_images(self, images: Pair) -> Channel:
        """Return the channel with other images."""
        return replace(self, images=images)


def prepare_pair(
    fixed: ImagesLike,
    moving: ImagesLike,
    fixed_mask: ImageLike | None,
    moving_mask: ImageLike | None,
    settings: Settings,
    guide_landmarks: PointPairsLike | None = None,
    guide_labels: LabelsLike | None = None,
) -> tuple[Pair, Settings]:
    """Read images, masks and guidance and validate them; return the pair, and the settings with lengths in mm.

    Several fixed and moving images are channels: pairs of images that are compared together. The settings returned are
    those of the first. Masks are segmented where none are given. Raises `DataError` for files that cannot be read, and
    images, masks, landmarks or labels that `make_pair` or `read_guidance` refuse; `UsageError` for other numbers of
    moving images, or of channels in the settings, than of fixed images.
    """
    fixed_image, *further_fixed = as_images(fixed, "fixed")
    moving_image, *further_moving = as_images(moving, "moving")
    _require_channels(1 + len(further_fixed), 1 + len(further_moving), settings)
    given_masks = {"fixed_mask": fixed_mask, "moving_mask": moving_mask}
    masks = [None if mask is None else as_image(mask, name) for name, mask in given_masks.items()]
    pair = make_pair(fixed_image, moving_image, masks[0], masks[1], for_channel(settings, 0).image)
    if settings.detail_unit:
        pair = replace(pair, detail_length=measure_detail(pair))
    all_settings = in_millimetres(settings, fixed_image.grid, pair.detail_length)
    settings = for_channel(all_settings, 0)
    if settings.transform != "deformable":  # results hold the settings that were used
        settings = replace(settings, affine=replace(settings.affine, kind=settings.transform))
    pair = pair.with_detail(settings.detail)
    guidance = read_guidance(guide_landmarks, guide_labels, fixed_image, moving_image)
    if not guidance:
        settings = replace(settings, guidance=GuidanceSettings())
    channels = [
        make_channel(pair, images, for_channel(all_settings, number))
        for number, images in enumerate(zip(further_fixed, further_moving, strict=True), start=1)
    ]
    return replace(pair, guidance=guidance, channels=tuple(channels)), settings


def measure_detail(pair: Pair) -> float:
    """Return the detail length of a pair, mm: the larger one of both images, as finer detail has no counterpart."""
    sides = (
        (pair.fixed, pair.fixed_mask, pair.fixed_window),
        (pair.moving, pair.moving_mask, pair.moving_window),
    )
    return max(detail_length(*side) for side in sides)


def _require_channels(fixed: int, moving: int, settings: Settings) -> None:
    """Raise `UsageError` unless there are as many moving images, and channels in the settings if any, as fixed ones."""
    if fixed != moving:
        raise UsageError(f"moving: expected {fixed} images, as many as fixed ones, got {moving}")
    if settings.channels and len(settings.channels) != fixed:
        raise UsageError(
            f"channels: expected one table for each of {fixed} pairs of images, got {len(settings.channels)}"
        )


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


def make_channel(first: Pair, images: tuple[Image, Image], settings: Settings) -> Channel:
    """Validate the images of a further channel, on grids of their own in the worlds of the first, and prepare them.

    Raises `DataError` for images of another dimension, non-finite or constant voxels, a window without any voxel, and
    images beside those of the first channel; issues a `PlausibilityWarning` for those that show less than half of it.
    """
    masks, windows = [], []
    for image, partner, mask in zip(
        images, (first.fixed, first.moving), (first.fixed_mask, first.moving_mask), strict=True
    ):
        if image.dimension != partner.dimension:
            raise DataError(
                f"{image.name}: expected a {partner.dimension}-D image, as {partner.name}, the first channel, got "
                f"{image.dimension}-D"
            )
        image.require_finite()
        image.require_contrast()
        _require_same_place(image, partner, mask)
        on_grid = mask if mask is not None and mask.grid.same_as(image.grid) else None
        check_intensities(image, on_grid, settings.image)
        masks.append(mask)
        windows.append(intensity_window(image, on_grid, settings.image))
    levels = [Pyramid(image, window, settings.detail) for image, window in zip(images, windows, strict=True)]
    fixed, moving = images
    return Channel(Pair(fixed, moving, masks[0], masks[1], windows[0], windows[1], levels[0], levels[1]), settings)


def _require_same_place(image: Image, first: Image, mask: Image | None) -> None:
    """Raise `DataError` unless an image shows a part of the first channel's, inside its mask if it has one."""
    points = point_source(first, mask).draw(PLACE_POINTS, torch.Generator().manual_seed(0)).double()
    inside = float(image.grid.contains_voxel_points(image.grid.world_to_voxel_points(points)).double().mean())
    found = (
        f"{image.name}: expected an image in the world of {first.name}, found {100 * inside:.0f} % of that inside of it"
    )
    if inside == 0:
        raise DataError(f"{found}; check the order of the images and their headers")
    if inside < LEAST_SHARED:
        warn(f"{found}; check the order of the images and their headers", PlausibilityWarning)


def pair_warnings(pair: Pair, issued: Iterable[str]) -> tuple[str, ...]:
    """Return the warnings from reading the images and masks, then those `issued` later, without duplicates."""
    further = [image for channel in pair.channels for image in (channel.images.fixed, channel.images.moving)]
    images = (pair.fixed, pair.moving, *further, pair.fixed_mask, pair.moving_mask)
    read = [text for image in images if image is not None for text in image.warnings]
    return tuple(dict.fromkeys([*read, *issued]))


def is_found(mask: Image, image: Image) -> bool:
    """Return whether a mask was found in the image by a setting, and not given: then it has the image's name."""
    return mask.name == image.name
