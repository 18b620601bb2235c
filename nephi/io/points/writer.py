"""Write landmarks: pairs of corresponding points (CSV), and points of one image (CSV and other formats)."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from torch import Tensor

from nephi.argument_types import checked
from nephi.geometry.frames import points_from
from nephi.io.arguments import PointPairsLike, PointsLike, as_point_pairs, as_points
from nephi.io.files.atomic import replacing
from nephi.io.points.landmarks import AXES
from nephi.io.points.plain import write_elastix_points
from nephi.io.points.slicer import write_fcsv, write_markups


@checked
def write_points(path: str | Path, points: PointsLike, frame: str = "lps") -> None:
    """Write points in mm, in `frame` (`lps` or `ras`), with all digits of float64.

    The suffix gives the format: `.mrk.json` (`.json`) and `.fcsv` of 3-D Slicer, `.pts` of elastix (always LPS), any
    other a CSV file with the columns `id,x,y[,z]`.

    Raises `DataError` when the file cannot be written, or for 2-D points in a format of 3-D Slicer; `UsageError` for an
    unknown frame.
    """
    path, points = Path(path), as_points(points)
    coordinates = points_from(frame, points.coordinates)
    match path.suffix.lower():
        case ".json":
            write_markups(path, points, frame)
        case ".fcsv":
            write_fcsv(path, points, frame)
        case ".pts":
            write_elastix_points(path, points)
        case _:
            _write_table(path, ["id", *AXES[: points.dimension]], points.ids, [coordinates])


@checked
def write_point_pairs(path: str | Path, pairs: PointPairsLike, frame: str = "lps") -> None:
    """Write a CSV file `id,fixed_x,fixed_y[,fixed_z],moving_x,...` in mm, with the ids of the fixed points.

    `frame` and errors as for `write_points`.
    """
    pairs = as_point_pairs(pairs)
    sides = {"fixed": pairs.fixed, "moving": pairs.moving}
    header = ["id", *(f"{side}_{axis}" for side, points in sides.items() for axis in AXES[: points.dimension])]
    _write_table(path, header, pairs.fixed.ids, [points_from(frame, p.coordinates) for p in sides.values()])


def _write_table(path: str | Path, header: list[str], ids: tuple[str, ...], blocks: list[Tensor]) -> None:
    rows = torch.cat(blocks, dim=1).tolist()
    with (
        replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        plain = csv.writer(file, lineterminator="\n")
        quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)  # Python < 3.13 leaves "\r" unquoted
        plain.writerow(header)
        for i, row in zip(ids, rows, strict=True):
            (quoted if "\r" in i else plain).writerow([i, *map(repr, row)])
