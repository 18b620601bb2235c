"""The two images of a registration, checked and made ready."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image, Pyramid, find_lungs
from nephi.optimize.intensities import Window, check_intensities, intensity_window
from nephi.optimize.settings import ImageSettings

RIM = 3  # voxels around a mask that patches reach into
LEAST_VOXELS = 8  # of a mask: an affine map in 3-D needs four points, with something between them


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
            _require_grid(mask, image, other)
            _require_something_in(mask, image)
        check_intensities(image, mask, settings)
    masks = [m or found_mask(i, settings.mask) for i, m in ((fixed, fixed_mask), (moving, moving_mask))]
    windows = [intensity_window(i, m, settings) for i, m in zip((fixed, moving), masks, strict=True)]
    levels = Pyramid(fixed, windows[0], detail), Pyramid(moving, windows[1], detail)
    return Pair(fixed, moving, masks[0], masks[1], windows[0], windows[1], *levels)


def _require_grid(mask: Image, image: Image, other: Image) -> None:
    if mask.grid.same_as(image.grid):
        return
    if mask.dimension != image.dimension:
        advice = f"give a {image.dimension}-D one"
    elif mask.grid.same_as(other.grid):
        advice = f"it lies on that of {other.name}: have the two masks changed places?"
    else:
        given = f"-i {shlex.quote(mask.name)} -r {shlex.quote(image.name)}"
        advice = f"bring it there with `nephi apply -t identity {given} --interpolation label -o MASK`"
    raise DataError(
        f"{mask.name}: expected a mask on the grid of {image.name} ({_grid_text(image.grid)}), found "
        f"{_grid_text(mask.grid)}; {advice}"
    )


def found_mask(image: Image, kind: str) -> Image | None:
    """Return the mask of an image that comes without: `lungs`, `foreground` (above the minimum) or `none`, None.

    Raises `DataError` when no lungs are found.
    """
    if kind == "lungs":
        return find_lungs(image)
    if kind == "foreground":
        return image.with_data((image.data > image.data.amin()).to(torch.uint8))
    return None


def _require_something_in(mask: Image, image: Image) -> None:
    """Raise `DataError` for a mask of next to no voxels, and for one over nothing but background, another image's."""
    box = mask.foreground  # an empty one is found out here, where its name is known
    if box.voxels < LEAST_VOXELS:
        raise DataError(
            f"{mask.name}: expected a mask over what is to be aligned, found {box.voxels} voxels above 0; give a "
            "larger one, or none"
        )
    least = image.data.amin()
    around = [slice(max(0, low - RIM), high + RIM) for low, high in zip(box.low, box.high, strict=True)]
    if bool(image.data[tuple(around)].amax() > least):
        return
    raise DataError(
        f"{mask.name}: expected a mask over what is to be aligned, but {image.name} is {least.item():g}, its least "
        "value, at every voxel inside and around it; check that both belong together"
    )


def _grid_text(grid: Grid) -> str:
    size = "x".join(map(str, grid.shape))
    spacing = " x ".join(f"{s:.4g}" for s in grid.spacing.tolist())
    return f"{size} voxels of {spacing} mm from ({', '.join(f'{o:.1f}' for o in grid.origin.tolist())})"
