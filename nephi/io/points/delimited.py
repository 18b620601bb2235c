"""Tables in text: columns separated by commas, semicolons or tabs, and numbers with a decimal point or comma."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nephi.errors import DataError, warn
from nephi.io.foreign import reading, require_file
from nephi.io.points.numbers import finite
from nephi.io.text import open_text

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
SEPARATOR_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # as spreadsheets write it before the header
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # 1,234 could be a thousand and more; 0,234 or 1,23 could not


@dataclass(frozen=True)
class Table:
    """A table of text: names of the columns in lower case, and numbered lines with a cell for each column.

    `separator` is the delimiter in words, "commas" say.
    """

    path: Path
    separator: str
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def column(self, name: str) -> tuple[str, ...]:
        """Return the cells of a column; none, where the table has no such column."""
        return tuple(cells[self.header.index(name)] for _, cells in self.rows) if name in self.header else ()

    def numbers(self, names: Sequence[str]) -> list[list[float]]:
        """Return the columns `names`, row by row, as finite numbers.

        A comma inside a cell is a decimal comma, unless a number elsewhere in these columns has a decimal point. A
        `DataWarning` says so where the commas could separate thousands as well.

        Raises `DataError` naming file, line and column of a cell that is no finite number.
        """
        places = [self.header.index(name) for name in names]
        cells = [cells[place] for _, cells in self.rows for place in places]
        with_comma = [cell for cell in cells if "," in cell]
        decimal_comma = bool(with_comma) and not any("." in cell for cell in cells)
        if decimal_comma and all(GROUPED.fullmatch(cell) for cell in with_comma):
            warn(
                f"{self.path}: read numbers such as {with_comma[0]} with a decimal comma, as "
                f"{with_comma[0].replace(',', '.')}; write a decimal point where it separates thousands"
            )
        return [
            [self._number(line, name, row[place], decimal_comma) for name, place in zip(names, places, strict=True)]
            for line, row in self.rows
        ]

    def _number(self, line: int, column: str, cell: str, decimal_comma: bool) -> float:
        if "," in cell and (not decimal_comma or cell.count(",") > 1):
            raise DataError(
                f"{self.path}: expected numbers with a decimal point or comma and nothing between thousands "
                f"in line {line}, column {column}, found {cell!r}"
            )
        return finite(self.path, f"line {line}, column {column}", cell.replace(",", "."))


def read_table(path: Path, wanted: Sequence[str]) -> Table:
    """Read a table with a header line; the delimiter is the one that separates most of the columns `wanted` there.

    A line `sep=;` before the header, as spreadsheets write it, chooses another. Blanks around cells and empty lines do
    not count.

    Raises `DataError` naming the file when it is empty or no text, when a line has more cells than the header, or
    a wanted column occurs twice.
    """
    require_file(path)
    with reading(path, "a CSV file"), open_text(path, newline="") as file:
        lines = [*islice((line for line in file if line.strip()), 2)]
        separator = SEPARATOR_LINE.fullmatch(lines[0]) if lines else None
        header = "".join(lines[1:] if separator else lines[:1])
        delimiter = separator[1] if separator else delimiter_of(header, wanted)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=delimiter != "\t")
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    rows = rows[1:] if separator else rows
    if not rows:
        raise DataError(f"{path}: the file is empty; expected a header and one line for each point")
    names = tuple(name.lower() for name in rows[0][1])
    repeated = [name for name in wanted if names.count(name) > 1]
    if repeated:
        raise DataError(
            f"{path}: expected one column {repeated[0]}, found {names.count(repeated[0])}; rename or delete the others"
        )
    separated_by = DELIMITERS.get(delimiter, repr(delimiter))
    return Table(
        path, separated_by, names, tuple((line, _filled(path, line, cells, len(names))) for line, cells in rows[1:])
    )


def delimiter_of(header: str, wanted: Sequence[str]) -> str:
    """Return the delimiter that finds most wanted columns in the header line, else most columns; commas in doubt."""

    def found(delimiter: str) -> tuple[int, int]:
        names = next(csv.reader([header], delimiter=delimiter, skipinitialspace=delimiter != "\t"), [])
        return len({name.strip().lower() for name in names} & set(wanted)), len(names)

    return max(DELIMITERS, key=found)


def _filled(path: Path, line: int, cells: list[str], width: int) -> tuple[str, ...]:
    """Return a line with as many cells as the header has: empty ones where it ends early."""
    if any(cells[width:]):
        raise DataError(
            f"{path}: expected {width} cells in line {line} as in the header, found {len(cells)}; numbers with a "
            "decimal comma need semicolons or tabs between columns"
        )
    return (*cells[:width], *[""] * (width - len(cells)))
