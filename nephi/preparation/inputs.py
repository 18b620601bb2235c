"""From what the user gives to a pair that can be registered."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path

from nephi.errors import UsageError
from nephi.geometry import recordable
from nephi.images import Image
from nephi.io import read_image
from nephi.preparation.pair import Pair, make_pair
from nephi.settings import Settings, in_millimetres

Source = Image | str | Path


def prepare(
    fixed: Source, moving: Source, fixed_mask: Source | None, moving_mask: Source | None, settings: Settings
) -> tuple[Pair, Settings]:
    """Read and check images and masks, find masks where none are given; return the pair, and settings in mm.

    Raises `DataError` for files that cannot be read and images that do not suit each other.
    """
    one, other = as_image(fixed), as_image(moving)
    masks = [None if mask is None else as_image(mask) for mask in (fixed_mask, moving_mask)]
    settings = in_millimetres(settings, one.grid)
    return make_pair(one, other, masks[0], masks[1], settings.image, settings.detail), settings


def as_image(source: Source) -> Image:
    """Return the image, read where it is a file.

    Raises `DataError` for a file that cannot be read, `UsageError` for an image object of another library or an array.
    """
    if not isinstance(source, Image | str | PathLike):
        found = f"{type(source).__module__.partition('.')[0]}'s {type(source).__name__}"
        raise UsageError(
            f"expected an image or mask as a nephi.Image or a file name, found {found}; save it, or make a nephi.Image "
            "of its voxels (a tensor, x first) and its nephi.Grid"
        )
    if not isinstance(source, Image):
        return read_image(source)
    return replace(source, data=recordable(source.data)) if source.data.is_inference() else source
