"""Landmarks as CSV: corresponding points, and points of one image."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import PointPairs, Points
from nephi.io.atomic import replacing
from nephi.io.foreign import reading, require_file
from nephi.io.frames import points_from

AXES = ("x", "y", "z")


def read_point_pairs(path: str | Path, frame: str = "lps") -> PointPairs:
    """Read corresponding points: columns `[id,]fixed_x,fixed_y[,fixed_z],moving_x,moving_y[,moving_z]`, in mm.

    `frame` is the file's, `lps` (ITK, ANTs) or `ras`; the points come back in RAS. Other columns are ignored.

    Raises `DataError` naming the file, row and column when a column is missing or a cell is no finite number, when
    there is no point, or the file is not CSV; `UsageError` for an unknown frame.
    """
    ids, (fixed, moving) = _read_table(Path(path), ("fixed_", "moving_"))
    return PointPairs.from_coordinates(points_from(frame, fixed), points_from(frame, moving), ids)


def read_points(path: str | Path, frame: str = "lps") -> Points:
    """Read points of one image: columns `[id,]x,y[,z]`, in mm; frame and errors as in `read_point_pairs`."""
    ids, (coordinates,) = _read_table(Path(path), ("",))
    return Points(points_from(frame, coordinates), ids)


def write_points(path: str | Path, points: Points, frame: str = "lps") -> None:
    """Write `id,x,y[,z]` in mm, in `frame` (`lps` or `ras`), with all the digits of float64.

    Raises `DataError` when the file cannot be written, `UsageError` for an unknown frame.
    """
    _write_table(path, ["id", *AXES[: points.dimension]], points.ids, [points_from(frame, points.coordinates)])


def write_point_pairs(path: str | Path, pairs: PointPairs, frame: str = "lps") -> None:
    """Write `id,fixed_x,fixed_y[,fixed_z],moving_x,...` in mm, with the fixed points' ids; else as `write_points`."""
    sides = {"fixed": pairs.fixed, "moving": pairs.moving}
    header = ["id", *(f"{side}_{axis}" for side, points in sides.items() for axis in AXES[: points.dimension])]
    _write_table(path, header, pairs.fixed.ids, [points_from(frame, p.coordinates) for p in sides.values()])


def _write_table(path: str | Path, header: list[str], ids: tuple[str, ...], blocks: list[Tensor]) -> None:
    rows = torch.cat(blocks, dim=1).tolist()
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([i, *map(repr, row)] for i, row in zip(ids, rows, strict=True))


def _read_table(path: Path, prefixes: tuple[str, ...]) -> tuple[tuple[str, ...], list[Tensor]]:
    """Return ids (empty without such a column) and, for each prefix, the columns `prefix + x, y[, z]` as `(N, D)`."""
    require_file(path)
    with reading(path, "a CSV file"), open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, skipinitialspace=True)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    if not rows:
        raise DataError(f"{path}: the file is empty; expected a header and one line for each point")
    header = [name.lower() for name in rows[0][1]]
    axes = AXES if any(prefix + "z" in header for prefix in prefixes) else AXES[:2]
    wanted = [prefix + axis for prefix in prefixes for axis in axes]
    missing = [name for name in wanted if name not in header]
    if missing:
        raise DataError(
            f"{path}: expected the columns {','.join(wanted)}, separated by commas, found {','.join(header)}; "
            f"missing: {','.join(missing)}"
        )
    if len(rows) == 1:
        raise DataError(f"{path}: expected one line for each point, found only the header")
    columns = [header.index(name) for name in wanted]
    values = [
        [_number(path, line, header[c], row[c] if c < len(row) else "") for c in columns] for line, row in rows[1:]
    ]
    table = torch.tensor(values, dtype=torch.float64)
    ids = tuple(row[header.index("id")] for _, row in rows[1:]) if "id" in header else ()
    return ids, list(table.split(len(axes), dim=1))


def _number(path: Path, line: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: expected a finite number in line {line}, column {column}, found {cell!r}")
    return value
