"""Masks of a pair: where they lie, what they cover, and those that are found where none are given."""

from __future__ import annotations

import torch

from nephi.errors import DataError, PlausibilityWarning, warn
from nephi.images import Image, find_lungs
from nephi.preparation.mask_placement import require_placement

RIM = 3  # voxels around a mask that patches reach into
LEAST_VOXELS = 8  # of a mask: an affine map in 3-D needs four points, with something between them
FEW_VOXELS = 100  # of a mask: they hardly determine a deformation
SMALL = 0.05  # of the image's voxels, of which few may be enough
FAINT = 0.25  # of a mask's voxels, which may be below half of its largest value: a rim that was interpolated
LARGEST_RATIO = 5.0  # between the volumes of both masks: lungs at full inhalation have twice their volume at exhalation


def find_mask(image: Image, kind: str) -> Image | None:
    """Return the mask of an image that comes without: `lungs`, `foreground` (above the minimum) or `none`, None.

    Raises `DataError` when no lungs are found.
    """
    if kind == "lungs":
        return find_lungs(image)
    if kind == "foreground":
        return image.with_data((image.data > image.data.amin()).to(torch.uint8))
    return None


def require_usable_mask(mask: Image, image: Image, other: Image) -> None:
    """Raise `DataError` for a mask of another grid, of next to no voxels, or over nothing but background.

    `other` is the other image of the pair: two masks may have changed places. A mask of few voxels is warned of.
    """
    require_placement(mask, image, other)
    box = mask.foreground  # an empty one is found out here, where its name is known
    if box.voxels < LEAST_VOXELS:
        raise DataError(
            f"{mask.name}: expected a mask over what is to be aligned, found {box.voxels} voxels above 0; give a "
            "larger one, or none"
        )
    least = image.data.amin()
    around = [slice(max(0, low - RIM), high + RIM) for low, high in zip(box.low, box.high, strict=True)]
    if bool(image.data[tuple(around)].amax() <= least):
        raise DataError(
            f"{mask.name}: expected a mask over what is to be aligned, but {image.name} is {least.item():g}, its least "
            "value, at every voxel inside and around it; check that both belong together"
        )
    if box.voxels < min(FEW_VOXELS, SMALL * image.grid.size):
        problem = f"expected a mask over what is to be aligned, found {box.voxels} of {image.grid.size} voxels above 0"
        warn(f"{mask.name}: {problem}; check that it was resampled right, or give a larger one", PlausibilityWarning)
    _warn_of_probabilities(mask)


def _warn_of_probabilities(mask: Image) -> None:
    """Issue a `DataWarning` when many voxels of a mask are fractions far below the others: all above 0 count."""
    if not mask.data.dtype.is_floating_point:
        return
    inside = mask.data[mask.data > 0]
    half = inside.amax() / 2
    share = float((inside < half).float().mean())
    if share > FAINT and bool((inside != inside.round()).any()):
        warn(
            f"{mask.name}: expected a mask, found fractions, {share:.0%} of them below {half.item():.3g}: it may hold "
            "probabilities, or was resampled linearly; all voxels above 0 count, so set to 0 what is outside"
        )


def compare_masks(fixed: Image, moving: Image) -> None:
    """Issue a `PlausibilityWarning` when two given masks differ in volume as masks of one structure do not."""
    volumes = [mask.foreground.voxels * float(mask.grid.affine[:-1, :-1].det().abs()) for mask in (fixed, moving)]
    if max(volumes) > LARGEST_RATIO * min(volumes):
        unit = "ml" if fixed.dimension == 3 else "cm2"
        sizes = " and ".join(f"{v / 10**fixed.dimension:.4g} {unit}" for v in volumes)
        problem = f"expected masks of the same structure in both images, found {sizes}"
        warn(f"{fixed.name} and {moving.name}: {problem}; check that both are whole", PlausibilityWarning)
