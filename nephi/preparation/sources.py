"""Images and masks as arguments: `Image` objects or files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from nephi.errors import UsageError
from nephi.geometry import recordable
from nephi.images import Image
from nephi.io import read_image

Source = Image | str | Path
Sources = Source | Sequence[Source]


def as_image(source: Source) -> Image:
    """Return the image, or read it from a file.

    Raises `DataError` for a file that cannot be read, `UsageError` for an array or an image of another library.
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


def as_images(sources: Sources) -> list[Image]:
    """Return the images of one or several channels; raise as `as_image`, and `UsageError` for none."""
    if isinstance(sources, str) or not isinstance(sources, Sequence):
        return [as_image(sources)]
    if not sources:
        raise UsageError("expected an image, or a list of one image for each channel, got an empty list")
    return [as_image(source) for source in sources]
