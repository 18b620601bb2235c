"""Arguments of public functions: images, grids and points in any form, converted to those of nephi.

Public functions call these; the functions inside accept only `Image`, `Grid`, `Points` and `PointPairs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from nephi.argument_types import type_name
from nephi.errors import UsageError
from nephi.geometry import Grid, PointPairs, Points, recordable
from nephi.images import ForeignImage, Image, library_of
from nephi.io.images import read_grid, read_image
from nephi.io.points.landmarks import read_point_pairs, read_points

ImageLike = Image | str | Path | ForeignImage
"""An image: `nephi.Image`, a path, or an image of SimpleITK, nibabel or antspyx."""
ImagesLike = ImageLike | Sequence[ImageLike]
"""An image, or a list of one image for each channel."""
GridLike = Grid | ImageLike
"""A grid, or an image that has it."""
LabelsLike = tuple[ImageLike, ImageLike]
"""The label maps of both images, fixed and moving."""
PointsLike = Points | str | Path | Tensor | ArrayLike
"""Points: `nephi.Points`, a path, or a tensor, array or list `(N, D)` of world mm, RAS."""
PointPairsLike = PointPairs | str | Path | tuple[PointsLike, PointsLike]
"""Pairs of points: `nephi.PointPairs`, the path of a file of pairs, or the points of the fixed and the moving image."""

READERS: Mapping[str, Callable[[Any, str], Image]] = MappingProxyType(
    {"SimpleITK": Image.from_sitk, "nibabel": Image.from_nibabel, "ants": Image.from_ants}
)
FORMS = "a path, a nephi.Image, or an image of SimpleITK, nibabel or ANTs"


def as_image(source: ImageLike, name: str = "image") -> Image:
    """Return the image, read it from a file, or convert it from another library.

    `name` is that of the argument in messages, and of images without a name. Raises `DataError` for an image that
    cannot be read or has several components per voxel; `UsageError` for an array, which has no position, and any other
    object.
    """
    if isinstance(source, Image):
        return replace(source, data=recordable(source.data)) if source.data.is_inference() else source
    if isinstance(source, str | PathLike):
        return read_image(as_path(source, name))
    if (reader := READERS.get(library_of(source))) is not None:
        return reader(source, name)
    if isinstance(source, np.ndarray | Tensor):
        kind, constructor = "numpy array", "nephi.Image.from_numpy(array, spacing=...)"
        if isinstance(source, Tensor):
            kind, constructor = "tensor", "nephi.Image(tensor, nephi.Grid.from_spacing(shape, spacing))"
        raise UsageError(f"{name}: expected {FORMS}, got a {kind}, whose position is unknown; give {constructor}")
    raise UsageError(f"{name}: expected {FORMS}, got {type_name(source)}")


def as_images(sources: ImagesLike, name: str = "images") -> list[Image]:
    """Return the images of one or several channels; raise as `as_image`, and `UsageError` for none."""
    if not isinstance(sources, list | tuple):  # the rule of `channel_count`
        return [as_image(sources, name)]  # type: ignore[arg-type]  # any other sequence is refused there
    if not sources:
        raise UsageError(f"{name}: expected an image, or a list of one image for each channel, got an empty list")
    return [as_image(source, f"{name}[{number}]") for number, source in enumerate(sources)]


def channel_count(sources: ImagesLike) -> int:
    """Return the number of channels of an argument of `as_images`: a list or tuple has one for each image."""
    return len(sources) if isinstance(sources, list | tuple) else 1


def as_grid(source: GridLike, name: str = "grid") -> Grid:
    """Return the grid, or that of an image in any form of `as_image`; of a file, only the header is read."""
    if isinstance(source, Grid):
        return source
    if isinstance(source, str | PathLike):
        return read_grid(as_path(source, name))
    if isinstance(source, Image) or library_of(source):
        return as_image(source, name).grid
    raise UsageError(f"{name}: expected a nephi.Grid, or {FORMS}, got {type_name(source)}")


def as_points(source: PointsLike, name: str = "points") -> Points:
    """Return the points, read a file (LPS mm), or convert a tensor, array or list `(N, D)` of world mm, RAS.

    Raises `DataError` for a file that cannot be read or another shape, `UsageError` for anything else.
    """
    if isinstance(source, Points):
        return source
    if isinstance(source, str | PathLike):
        return read_points(as_path(source, name))
    if isinstance(source, Tensor | np.ndarray | list | tuple):
        return Points(source)  # type: ignore[arg-type]  # converted there
    raise UsageError(
        f"{name}: expected nephi.Points, a path, or an array (N, D) of world mm (RAS), got {type_name(source)}"
    )


def as_point_pairs(source: PointPairsLike, name: str = "landmarks") -> PointPairs:
    """Return the pairs, read a file of pairs (LPS mm), or pair the points of the fixed and the moving image.

    Raises as `as_points`, and `DataError` for points that do not match.
    """
    if isinstance(source, PointPairs):
        return source
    if isinstance(source, str | PathLike):
        return read_point_pairs(as_path(source, name))
    if isinstance(source, list | tuple) and len(source) == 2:
        return PointPairs(as_points(source[0], f"{name}, fixed"), as_points(source[1], f"{name}, moving"))
    raise UsageError(
        f"{name}: expected nephi.PointPairs, a path, or (fixed, moving) with the points of both images, got "
        f"{type_name(source)}"
    )


def as_path(source: str | PathLike[str], name: str = "path") -> Path:
    """Return a path; raise `UsageError` for anything else, and for a path of bytes."""
    if not isinstance(source, str | PathLike):
        raise UsageError(f"{name}: expected a path, got {type_name(source)}")
    try:
        return Path(source)
    except TypeError:
        raise UsageError(f"{name}: expected a path as text, got {type_name(source)}") from None
