"""Points in plain text: point files of elastix, and voxel indices of DIR-Lab."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid, Points
from nephi.geometry.frames import flip_points
from nephi.io.files.atomic import write_text
from nephi.io.files.input_files import reading, require_file
from nephi.io.text import finite_number, open_text


def read_words(path: Path) -> list[list[str]]:
    """Return the words of each line that is not blank."""
    require_file(path)
    with reading(path, "a text file of points"), open_text(path) as file:
        return [line.split() for line in file if line.strip()]


def read_elastix_points(path: Path, grid: Grid | None) -> Points:
    """Read `point` (LPS mm) or `index` (voxel indices of `grid`, from 0), the number of points, and the points.

    Raises `DataError` naming the file when it is damaged or incomplete, `UsageError` for indices without a grid.
    """
    lines = read_words(path)
    kind = lines[0][0].lower() if lines else ""
    if kind not in ("point", "index") or len(lines) < 2:
        raise DataError(f"{path}: expected 'point' or 'index', the number of points, and the points (elastix)")
    count = finite_number(path, "line 2 (the number of points)", lines[1][0])
    if count != len(lines) - 2:
        raise DataError(f"{path}: expected {count:g} points by line 2, found {len(lines) - 2}")
    table = _table(path, lines[2:], first=3)
    return Points(flip_points(table) if kind == "point" else _to_world(path, table, grid))


def read_dirlab(path: Path, grid: Grid | None, flip: str = "") -> Points:
    """Read voxel indices of `grid` counted from 1; for axes in `flip` (`"z"`), counted from the last voxel.

    Raises `DataError` naming the file when it is damaged or a point is outside of the image, `UsageError` without a
    grid.
    """
    if set(flip) - set("xyz"):
        raise UsageError(f"flip: expected some of the axes x, y, z, got {flip!r}")
    table = _table(path, read_words(path), first=1) - 1
    if grid is not None and table.shape[1] == grid.dimension:
        for axis in range(grid.dimension):
            if "xyz"[axis] in flip:
                table[:, axis] = grid.shape[axis] - 1 - table[:, axis]
    return Points(_to_world(path, table, grid))


def write_elastix_points(path: Path, points: Points) -> None:
    """Write a point file of elastix: `point`, the number of points, and LPS mm with all digits of float64."""
    rows = [" ".join(map(repr, row)) for row in flip_points(points.coordinates).tolist()]
    write_text(path, "\n".join(["point", str(len(rows)), *rows]) + "\n")


def write_dirlab(path: str | Path, points: Points, grid: Grid) -> None:
    """Write voxel indices of `grid` counted from 1, separated by tabs: positions are rounded to voxel centres."""
    voxels = grid.world_to_voxel_points(points.coordinates).round().long() + 1
    write_text(path, "".join("\t".join(map(str, row)) + "\n" for row in voxels.tolist()))


def _table(path: Path, lines: list[list[str]], first: int) -> Tensor:
    """Convert rows of two or three numbers, all of one length, to `(N, D)`; `first` is the number of the first line."""
    if not lines:
        raise DataError(f"{path}: expected one line for each point, found none")
    width = len(lines[0])
    for number, words in enumerate(lines, first):
        if width not in (2, 3) or len(words) != width:
            raise DataError(
                f"{path}: expected 2 or 3 numbers, as many in each line, found {len(words)} in line {number}"
            )
    rows = [
        [finite_number(path, f"line {number}", word) for word in words] for number, words in enumerate(lines, first)
    ]
    return torch.tensor(rows, dtype=torch.float64)


def _to_world(path: Path, voxels: Tensor, grid: Grid | None) -> Tensor:
    if grid is None:
        raise UsageError(f"{path}: expected a reference image for voxel indices (--points-reference), got none")
    if voxels.shape[1] != grid.dimension:
        raise DataError(f"{path}: expected {grid.dimension}-D points for the reference, found {voxels.shape[1]}-D")
    outside = ~grid.contains_voxel_points(voxels)
    if bool(outside.any()):
        first = int(outside.nonzero()[0]) + 1
        raise DataError(
            f"{path}: expected points inside of the reference's {grid.shape} voxels, found point {first} outside; is "
            "it the image in which the points were marked?"
        )
    return grid.voxel_to_world_points(voxels)
