"""Masks of a pair: validation of given masks, segmentation where none are given."""

from __future__ import annotations

import torch

from nephi.errors import DataError, PlausibilityWarning, warn
from nephi.images import Image, find_lungs
from nephi.preparation.mask_placement import require_placement

RIM = 3  # voxels around a mask that are compared as well, because patches extend beyond it
LEAST_VOXELS = 8  # of a mask; an affine map in 3-D already needs four points
FEW_VOXELS = 100  # of a mask; fewer hardly determine a deformation
SMALL = 0.05  # fraction of the image's voxels; in a tiny image, few voxels may be enough
FAINT = 0.25  # fraction of a mask's voxels that may be below half of its maximum, as an interpolated rim is
LARGEST_RATIO = 5.0  # of the volumes of both masks; lungs at full inhalation have twice their volume at exhalation


def find_mask(image: Image, kind: str) -> Image | None:
    """Segment an image that has no mask: `lungs`, or `foreground` (above the minimum); return None for `none`.

    Raises `DataError` if no lungs are found.
    """
    if kind == "lungs":
        return find_lungs(image)
    if kind == "foreground":
        return image.with_data((image.data > image.data.amin()).to(torch.uint8))
    return None


def require_usable_mask(mask: Image, image: Image, other: Image) -> None:
    """Raise `DataError` for a mask on another grid, with too few voxels, or with only background inside.

    `other` is the other image of the pair, for the case that the two masks were exchanged. Issues a
    `PlausibilityWarning` for a mask of few voxels, a `DataWarning` for one that may hold probabilities.
    """
    require_placement(mask, image, other)
    box = mask.foreground  # raises for an empty mask
    if box.voxels < LEAST_VOXELS:
        raise DataError(
            f"{mask.name}: expected a mask of the structures to register, found {box.voxels} voxel(s) above 0; "
            "use a larger mask, or none"
        )
    least = image.data.amin()
    around = [slice(max(0, low - RIM), high + RIM) for low, high in zip(box.low, box.high, strict=True)]
    if bool(image.data[tuple(around)].amax() <= least):
        raise DataError(
            f"{mask.name}: expected a mask of the structures to register, found only the minimum of {image.name}, "
            f"{least.item():g}, inside and around it; check that mask and image belong together"
        )
    if box.voxels < min(FEW_VOXELS, SMALL * image.grid.size):
        few = f"found {box.voxels} of {image.grid.size} voxels above 0"
        message = f"{mask.name}: expected a mask of the structures to register, {few}; check how it was resampled"
        warn(f"{message}, or use a larger one", PlausibilityWarning)
    _warn_of_probabilities(mask)


def _warn_of_probabilities(mask: Image) -> None:
    """Issue a `DataWarning` if many voxels of a mask are fractions far below the maximum: all above 0 are inside."""
    if not mask.data.dtype.is_floating_point:
        return
    inside = mask.data[mask.data > 0]
    half = inside.amax() / 2
    fraction = float((inside < half).float().mean())
    if fraction > FAINT and bool((inside != inside.round()).any()):
        warn(
            f"{mask.name}: expected a mask, found fractions, {fraction:.0%} of them below {half.item():.3g}: it may "
            "hold probabilities, or was resampled linearly; all voxels above 0 count as inside: set the others to 0"
        )


def compare_masks(fixed: Image, moving: Image) -> None:
    """Issue a `PlausibilityWarning` if the volumes of two given masks differ too much for the same structure."""
    volumes = [mask.foreground.voxels * float(mask.grid.affine[:-1, :-1].det().abs()) for mask in (fixed, moving)]
    if max(volumes) > LARGEST_RATIO * min(volumes):
        unit = "ml" if fixed.dimension == 3 else "cm2"
        sizes = " and ".join(f"{v / 10**fixed.dimension:.4g} {unit}" for v in volumes)
        problem = f"expected masks of the same structure in both images, found {sizes}"
        warn(f"{fixed.name} and {moving.name}: {problem}; check that both are complete", PlausibilityWarning)
