"""Read landmarks: pairs of corresponding points (CSV), and points of one image (CSV and other formats)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nephi.argument_types import checked
from nephi.errors import DataError, UsageError
from nephi.geometry import Grid, PointPairs, Points
from nephi.geometry.frames import points_from
from nephi.io.files.input_files import reading, require_file
from nephi.io.points.delimited import Table, read_table
from nephi.io.points.plain import read_dirlab, read_elastix_points
from nephi.io.points.slicer import read_fcsv, read_markups
from nephi.io.text import open_text

POINT_FORMATS = ("csv", "mrk.json", "fcsv", "elastix", "dirlab")
"""Formats of points that `read_points` accepts."""
AXES = ("x", "y", "z")


@checked
def read_point_pairs(path: str | Path, frame: str = "lps") -> PointPairs:
    """Read corresponding points: columns `[id,]fixed_x,fixed_y[,fixed_z],moving_x,moving_y[,moving_z]`, in mm.

    `frame` is that of the file, `lps` (ITK, ANTs) or `ras`; the returned points are RAS. Columns may be separated by
    commas, semicolons or tabs (found from the header), and numbers may have a decimal comma; other columns are ignored.

    Raises `DataError` naming the file, line and column when a column is missing, a cell is not a finite number, the
    file has no point or is not CSV; `UsageError` for an unknown frame.
    """
    ids, (fixed, moving) = _read_table(Path(path), ("fixed_", "moving_"))
    return PointPairs.from_coordinates(points_from(frame, fixed), points_from(frame, moving), ids)


def has_point_pairs(path: str | Path) -> bool:
    """Return whether a file is a table with the columns of `read_point_pairs`; False for a file that cannot be read."""
    path = Path(path)
    try:
        if _detect_format(path) != "csv":
            return False
        names = [f"{side}_{axis}" for side in ("fixed", "moving") for axis in AXES]
        return {"fixed_x", "moving_x"} <= set(read_table(path, names).header)
    except DataError:
        return False


@checked
def read_points(
    path: str | Path, frame: str = "lps", format: str | None = None, reference: Grid | None = None, flip: str = ""
) -> Points:
    """Read points of one image, in world mm, RAS.

    `format` is one of the following; by default it is detected from suffix and contents:

    - `csv`: columns `[id,]x,y[,z]` in mm, in `frame` (`lps` or `ras`), separated as for `read_point_pairs`; without a
      column `id`, a column `label` or `name` of unique values gives the ids;
    - `mrk.json`, `fcsv`: files of 3-D Slicer, which state their frame;
    - `elastix`: `point` or `index`, the number of points, and the points (LPS mm, or voxel indices of `reference`
      counted from 0);
    - `dirlab`: one voxel index of `reference` per line, counted from 1, for axes in `flip` (`"z"`) from the last voxel.

    Raises `DataError` naming the file when it is damaged, holds no point, or does not state its convention;
    `UsageError` for an unknown frame, format or axis, or for voxel indices without a `reference`.
    """
    path = Path(path)
    match format or _detect_format(path):
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
    raise UsageError(f"format: expected one of {', '.join(POINT_FORMATS)}, got {format!r}")


def _detect_format(path: Path) -> str:
    """Return the format by suffix or contents; raise `DataError` when neither states it."""
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
            f"{path}: expected a header with column names, found {first!r}; give --points-format dirlab "
            "for voxel indices counted from 1, or a CSV file with the header x,y,z"
        )
    return "csv"


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _read_table(path: Path, prefixes: tuple[str, ...]) -> tuple[tuple[str, ...], list[Tensor]]:
    """Read the ids (empty without such a column) and, for each prefix, the columns `prefix + x, y[, z]` as `(N, D)`."""
    table = read_table(path, [prefix + axis for prefix in prefixes for axis in AXES])
    axes = AXES if any(prefix + "z" in table.header for prefix in prefixes) else AXES[:2]
    columns = [prefix + axis for prefix in prefixes for axis in axes]
    missing = [name for name in columns if name not in table.header]
    if missing:
        raise DataError(
            f"{path}: expected the columns {','.join(columns)}, separated by {table.separator}, found "
            f"{','.join(table.header)}; missing: {','.join(missing)}{_suggest_reader(table, prefixes)}"
        )
    if not table.rows:
        raise DataError(f"{path}: expected one line for each point, found only the header")
    values = torch.tensor(table.numbers(columns), dtype=torch.float64)
    return _ids(table), list(values.split(len(axes), dim=1))


def _suggest_reader(table: Table, prefixes: tuple[str, ...]) -> str:
    """Return advice for points of one image in place of pairs, and the reverse; otherwise an empty text."""
    if len(prefixes) == 2 and {"x", "y"} <= set(table.header):
        return "; these are points of one image: give those of the other to nephi evaluate by --moving-landmarks"
    if len(prefixes) == 1 and {"fixed_x", "moving_x"} <= set(table.header):
        return "; these are pairs of points: save the columns of one image in a separate file, as x,y,z"
    return ""


def _ids(table: Table) -> tuple[str, ...]:
    """Return the column `id`, else `label` or `name` if its values are unique, else an empty tuple."""
    ids = table.column("id")
    if any(ids):
        return ids
    candidates = (table.column(name) for name in ("label", "name"))
    return next((cells for cells in candidates if cells and all(cells) and len(set(cells)) == len(cells)), ())
