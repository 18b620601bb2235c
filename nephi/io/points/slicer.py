"""Points of 3-D Slicer: `.mrk.json` and `.fcsv`, which state their frame."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch

from nephi.documents import is_unicode, read_json
from nephi.errors import DataError, printable
from nephi.geometry import Points
from nephi.geometry.frames import points_from
from nephi.io.files.atomic import write_text
from nephi.io.files.input_files import reading, require_file
from nephi.io.text import finite_number, open_text

FCSV_FRAMES = {"0": "ras", "RAS": "ras", "1": "lps", "LPS": "lps"}
FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
FCSV_NOT_PLACED = ("0", "1", "3")  # undefined, preview, missing: Slicer 5 writes the status after the named columns
SCHEMA = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"


def read_markups(path: Path) -> Points:
    """Read the points of a `.mrk.json` file, in RAS mm; the ids are the labels if those are unique.

    Raises `DataError` naming the file when it is damaged, does not hold exactly one list of points, does not state its
    frame, or has a point without a position.
    """
    require_file(path)
    tree = read_json(path, "a markups file of 3-D Slicer")
    lists = tree.get("markups") if isinstance(tree, dict) else None
    if not isinstance(lists, list) or len(lists) != 1 or not isinstance(lists[0], dict):
        found = f"{len(lists)} lists" if isinstance(lists, list) else "none"
        raise DataError(f"{path}: expected one list of points (markups) of 3-D Slicer, found {found}; save it alone")
    frame = str(lists[0].get("coordinateSystem", "none")).lower()
    if frame not in ("lps", "ras"):
        raise DataError(f"{path}: expected the coordinateSystem LPS or RAS, found {frame}; the frame is unknown")
    unit = lists[0].get("coordinateUnits", "mm")
    if (unit[0] if isinstance(unit, list) and unit else unit) != "mm":  # a list: coded unit (value, scheme, meaning)
        raise DataError(f"{path}: expected points in mm, found the unit {unit}; convert them")
    rows = lists[0].get("controlPoints")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected points (controlPoints), found none")
    ids = _first_unique([str(row.get("label", "")) for row in rows], [str(row.get("id", "")) for row in rows])
    for name in ids:
        if not is_unicode(name):
            raise DataError(
                f"{path}: expected labels in Unicode, found half of a surrogate pair in {name!r}; rename it"
            )
    values = [_position(path, i, row) for i, row in enumerate(rows)]
    return Points(points_from(frame, torch.tensor(values, dtype=torch.float64)), ids)


def _position(path: Path, number: int, row: dict[str, Any]) -> list[float]:
    cells = row.get("position")
    if row.get("positionStatus", "defined") != "defined" or not isinstance(cells, list) or len(cells) != 3:
        name = row.get("label") or row.get("id") or number + 1
        raise DataError(f"{path}: expected three coordinates for point {name}, found none; place it, or delete it")
    return [finite_number(path, f"point {number + 1}", cell) for cell in cells]


def read_fcsv(path: Path) -> Points:
    """Read the points of a `.fcsv` file, in RAS mm; ids and errors as for `read_markups`."""
    require_file(path)
    with reading(path, "a fiducial file of 3-D Slicer"), open_text(path, newline="") as file:
        lines = [line for line in file.read().splitlines() if line.strip()]
        cells = list(csv.reader(x for x in lines if not x.startswith("#")))
    header = dict(_split_comment(line) for line in lines if line.startswith("#"))
    system = header.get("CoordinateSystem", "none")
    if system not in FCSV_FRAMES:
        raise DataError(
            f"{path}: expected the line '# CoordinateSystem = ' with LPS, RAS, 0 or 1, found {system}; the frame "
            "is unknown"
        )
    columns = header.get("columns", FCSV_COLUMNS).split(",")
    if not {"x", "y", "z"} <= set(columns):
        raise DataError(f"{path}: expected the columns x, y and z, found {','.join(columns)}")
    rows = [dict(zip(columns, row, strict=False)) for row in cells]
    if not rows:
        raise DataError(f"{path}: expected one line for each point, found none")
    for number, row in enumerate(cells, 1):
        if row[len(columns) : len(columns) + 1] and row[len(columns)].strip() in FCSV_NOT_PLACED:
            name = rows[number - 1].get("label") or number
            raise DataError(f"{path}: expected a position for point {name}, found none; place it, or delete it")
    values = [
        [finite_number(path, f"point {i + 1}", row.get(axis, "")) for axis in "xyz"] for i, row in enumerate(rows)
    ]
    ids = _first_unique([row.get("label", "") for row in rows], [row.get("id", "") for row in rows])
    return Points(points_from(FCSV_FRAMES[system], torch.tensor(values, dtype=torch.float64)), ids)


def _split_comment(line: str) -> tuple[str, str]:
    name, _, value = line.lstrip("# ").partition("=")
    return name.strip(), value.strip()


def _first_unique(*choices: list[str]) -> tuple[str, ...]:
    """Return the first choice of ids that are complete and unique, else an empty tuple."""
    for ids in choices:
        if all(ids) and len(set(ids)) == len(ids):
            return tuple(ids)
    return ()


def write_markups(path: Path, points: Points, frame: str) -> None:
    """Write a `.mrk.json` file in `frame` (`lps` or `ras`); raise `DataError` for 2-D points."""
    _require_3d(path, points)
    rows = [
        {"id": str(i + 1), "label": name, "position": position, "positionStatus": "defined"}
        for i, (name, position) in enumerate(
            zip(points.ids, points_from(frame, points.coordinates).tolist(), strict=True)
        )
    ]
    markup = {"type": "Fiducial", "coordinateSystem": frame.upper(), "coordinateUnits": "mm", "controlPoints": rows}
    tree = {"@schema": f"{SCHEMA}markups-schema-v1.0.3.json#", "markups": [markup]}
    write_text(path, json.dumps(tree, indent=1) + "\n")


def write_fcsv(path: Path, points: Points, frame: str) -> None:
    """Write a `.fcsv` file in `frame` (`lps` or `ras`); raise `DataError` for 2-D points."""
    _require_3d(path, points)
    lines = [
        "# Markups fiducial file version = 4.11",
        f"# CoordinateSystem = {frame.upper()}",
        f"# columns = {FCSV_COLUMNS}",
    ]
    for i, (name, row) in enumerate(zip(points.ids, points_from(frame, points.coordinates).tolist(), strict=True)):
        name = printable(name)  # one line, and no control characters
        label = '"' + name.replace('"', '""') + '"' if set(name) & set(',"') else name
        lines.append(",".join([str(i + 1), *map(repr, row), "0,0,0,1,1,1,0", label, "", ""]))
    write_text(path, "\n".join(lines) + "\n")


def _require_3d(path: Path, points: Points) -> None:
    if points.dimension != 3:
        raise DataError(f"{path}: expected 3-D points for 3-D Slicer, found 2-D; write .csv")
