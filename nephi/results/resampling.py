"""Resampling of an image in any form through a transform."""

from __future__ import annotations

from nephi import images
from nephi.argument_types import checked
from nephi.geometry import PointMap
from nephi.images import Image
from nephi.io import GridLike, ImageLike, as_grid, as_image
from nephi.runtime import caller_threads


@checked
@caller_threads()
def resample(
    image: ImageLike, reference: GridLike, transform: PointMap, interpolation: str = "linear", outside: float = 0.0
) -> Image:
    """Resample an image: evaluate `image(transform(x))` at the voxel centres x of `reference`.

    `image` and `reference` are images in any form that `register` accepts, `reference` may also be a `Grid`.
    `transform` maps reference points to points of the image (world mm, RAS); with the moving image of a registration
    the result is the warped moving image. `interpolation` is `linear`, `nearest`, `bspline` (cubic, prefiltered), or
    `label`, which selects the label with the largest linearly interpolated indicator. Points more than half a voxel
    outside of the outermost voxel centres get the value `outside`. The result has the image's type; `nearest` and
    `label` are exact for whole numbers of any size. NaN and infinite voxels stay local. Issues a `DataWarning` when no
    voxel centre falls inside the image.

    Raises `UsageError` for an unknown interpolation, `DataError` for an image that cannot be read.
    """
    return images.resample(as_image(image), as_grid(reference, "reference"), transform, interpolation, outside)
