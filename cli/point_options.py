"""Options for files of points, and the landmarks of a registration."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import FILE, Command, frame_option, require_dimension

if TYPE_CHECKING:
    from nephi import Image, PointPairs, Points


@dataclass(frozen=True)
class PointOptions:
    """Coordinate system and format of files of points."""

    frame: str
    format: str | None
    reference: Path | None
    flip: str

    def read(self, path: Path, reference: Path | None = None) -> Points:
        """Read points; `reference` replaces the image to which voxel coordinates refer."""
        import nephi

        image = reference or self.reference
        grid = nephi.io.read_grid(image) if image else None
        return nephi.read_points(path, self.frame, self.format, grid, self.flip)


def read_landmarks(path: Path | None, frame: str, images: Sequence[Image]) -> PointPairs | None:
    """Read landmark pairs and validate them against the two images.

    Raises `DataError` for landmarks of another dimension than the images, or outside of them.
    """
    import nephi

    if path is None:
        return None
    pairs = nephi.read_point_pairs(path, frame)
    require_dimension(path, "landmarks", pairs.fixed.dimension, images[0].dimension, "images")
    try:
        nephi.metrics.check_landmarks(pairs, *(image.grid for image in images))
    except nephi.DataError as error:
        raise nephi.DataError(f"{path}: {error}") from None
    return pairs


def point_options(command: Command) -> Command:
    """Add `--frame`, `--points-format`, `--points-reference` and `--flip`, passed to the command as `point_options`."""

    @functools.wraps(command)
    def wrapper(
        *arguments: Any, frame: str, points_format: str | None, points_reference: Path | None, flip: str, **options: Any
    ) -> Any:
        point_options = PointOptions(frame, points_format, points_reference, flip.lower())
        return command(*arguments, point_options=point_options, **options)

    with_format = click.option(
        "--points-format",
        type=click.Choice(["csv", "mrk.json", "fcsv", "elastix", "dirlab"]),
        help="Format of the points, if suffix and content do not determine it; dirlab: voxel indices from 1.",
    )
    with_reference = click.option(
        "--points-reference", type=FILE, help="Image to which voxel coordinates refer (dirlab, `index` of elastix)."
    )
    with_flip = click.option(
        "--flip",
        metavar="AXES",
        default="",
        help="Axes along which dirlab coordinates start at the last voxel: z, yz, ...",
    )
    return frame_option(with_format(with_reference(with_flip(wrapper))))
