"""Landmarks: corresponding points, and points of one image; CSV itself, other formats by their suffix or name."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid, PointPairs, Points
from nephi.io.files.atomic import replacing
from nephi.io.foreign import reading, require_file
from nephi.io.frames import points_from
from nephi.io.points.delimited import Table, read_table
from nephi.io.points.plain import read_dirlab, read_elastix_points, write_elastix_points
from nephi.io.points.slicer import read_fcsv, read_markups, write_fcsv, write_markups
from nephi.io.text import open_text

POINT_FORMATS = ("csv", "mrk.json", "fcsv", "elastix", "dirlab")
"""The formats of points that `read_points` knows."""
AXES = ("x", "y", "z")


def read_point_pairs(path: str | Path, frame: str = "lps") -> PointPairs:
    """Read corresponding points: columns `[id,]fixed_x,fixed_y[,fixed_z],moving_x,moving_y[,moving_z]`, in mm.

    `frame` is the file's, `lps` (ITK, ANTs) or `ras`; the returned points are RAS. Columns may be separated by commas,
    semicolons or tabs (the header decides), numbers may have a decimal comma; other columns are ignored.

    Raises `DataError` naming the file, row and column when a column is missing or a cell is no finite number, when
    there is no point, or the file is not CSV; `UsageError` for an unknown frame.
    """
    ids, (fixed, moving) = _read_table(Path(path), ("fixed_", "moving_"))
    return PointPairs.from_coordinates(points_from(frame, fixed), points_from(frame, moving), ids)


def read_points(
    path: str | Path, frame: str = "lps", format: str | None = None, reference: Grid | None = None, flip: str = ""
) -> Points:
    """Read points of one image, in world mm, RAS. `format` is one of these, told by suffix and contents if not given:

    - `csv`: columns `[id,]x,y[,z]`, in mm, in `frame` (`lps` or `ras`); separated as in `read_point_pairs`; without
      `id` a column `label` or `name` that differs from point to point names the points;
    - `mrk.json`, `fcsv`: 3-D Slicer's, the frame stands in the file;
    - `elastix`: `point` or `index`, a count, and the points (LPS mm, or voxels from 0 of `reference`);
    - `dirlab`: lines of three voxels counted from 1 in `reference`, those of the axes in `flip` (`"z"`) from its end.

    Raises `DataError` naming the file when it is damaged, holds no point, or its convention cannot be told;
    `UsageError` for an unknown frame, format or axis, or when voxels come without a `reference`.
    """
    path = Path(path)
    match format or _told_format(path):
        case "csv":
            ids, (coordinates,) = _read_table(path, ("",))
            return Points(points_from(frame, coordinates), ids)
        case "mrk.json":
            return read_markups(path)
        case "fcsv":
            return read_fcsv(path)
        case "elastix":
            return read_elastix_points(path, reference)
        case "dirlab":
            return read_dirlab(path, reference, flip)
    raise UsageError(f"unknown format {format!r} of points: choose one of {', '.join(POINT_FORMATS)}")


def _told_format(path: Path) -> str:
    """Return the format that suffix or contents tell; raise `DataError` when they do not."""
    suffix = path.suffix.lower()
    by_suffix = {".csv": "csv", ".json": "mrk.json", ".fcsv": "fcsv"}
    if suffix in by_suffix:
        return by_suffix[suffix]
    require_file(path)
    with reading(path, "a file of points"), open_text(path, newline="") as file:
        first = next((line.strip() for line in file if line.strip()), "")
    if first.lower() in ("point", "index"):
        return "elastix"
    if "," not in first and all(map(_is_number, first.split())) and first:
        raise DataError(
            f"{path}: expected a header that tells what the numbers are, found {first!r}; give --points-format dirlab "
            "for voxels counted from 1, or a CSV file with the header x,y,z"
        )
    return "csv"


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def write_points(path: str | Path, points: Points, frame: str = "lps") -> None:
    """Write points with all the digits of float64, in mm, in `frame` (`lps` or `ras`): a CSV file `id,x,y[,z]`.

    `.mrk.json` (`.json`) and `.fcsv` are written as 3-D Slicer has them, `.pts` as elastix does (always LPS).
    Raises `DataError` when the file cannot be written or Slicer's is asked for 2-D points, `UsageError` for an unknown
    frame.
    """
    path = Path(path)
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


def write_point_pairs(path: str | Path, pairs: PointPairs, frame: str = "lps") -> None:
    """Write `id,fixed_x,fixed_y[,fixed_z],moving_x,...` in mm, with the fixed points' ids; else as `write_points`."""
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


def _read_table(path: Path, prefixes: tuple[str, ...]) -> tuple[tuple[str, ...], list[Tensor]]:
    """Return ids (empty without such a column) and, for each prefix, the columns `prefix + x, y[, z]` as `(N, D)`."""
    table = read_table(path, [prefix + axis for prefix in prefixes for axis in AXES])
    axes = AXES if any(prefix + "z" in table.header for prefix in prefixes) else AXES[:2]
    wanted = [prefix + axis for prefix in prefixes for axis in axes]
    missing = [name for name in wanted if name not in table.header]
    if missing:
        raise DataError(
            f"{path}: expected the columns {','.join(wanted)}, separated by {table.separator}, found "
            f"{','.join(table.header)}; missing: {','.join(missing)}{_other_kind(table, prefixes)}"
        )
    if not table.rows:
        raise DataError(f"{path}: expected one line for each point, found only the header")
    values = torch.tensor(table.numbers(wanted), dtype=torch.float64)
    return _ids(table), list(values.split(len(axes), dim=1))


def _other_kind(table: Table, prefixes: tuple[str, ...]) -> str:
    """Return what to do with a table of one image's points where pairs were expected, and the reverse; else nothing."""
    if len(prefixes) == 2 and {"x", "y"} <= set(table.header):
        return "; these are points of one image: nephi evaluate takes those of the other by --moving-landmarks"
    if len(prefixes) == 1 and {"fixed_x", "moving_x"} <= set(table.header):
        return "; these are pairs of points: write the columns of one image into a file of their own, as x,y,z"
    return ""


def _ids(table: Table) -> tuple[str, ...]:
    """Return the column `id`, else `label` or `name` where that names every point differently, else none."""
    ids = table.column("id")
    if any(ids):
        return ids
    named = (table.column(name) for name in ("label", "name"))
    return next((cells for cells in named if cells and all(cells) and len(set(cells)) == len(cells)), ())
