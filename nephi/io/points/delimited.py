"""Tables in text: columns separated by commas, semicolons or tabs; numbers with a decimal point or comma."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nephi.errors import DataError, warn
from nephi.io.files.input_files import reading, require_file
from nephi.io.text import finite_number, open_text

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
SEPARATOR_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # written before the header by spreadsheets
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # 1,234 may mean 1234; 0,234 and 1,23 may not


@dataclass(frozen=True)
class Table:
    """A table of text: column names in lower case, and for each row its line number and one cell per column.

    `separator` is the delimiter in words, for messages (`commas`).
    """

    path: Path
    separator: str
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def column(self, name: str) -> tuple[str, ...]:
        """Return the cells of a column; empty if the table has no such column."""
        return tuple(cells[self.header.index(name)] for _, cells in self.rows) if name in self.header else ()

    def numbers(self, names: Sequence[str]) -> list[list[float]]:
        """Convert the columns `names` to finite numbers, row by row.

        A comma inside a cell is a decimal comma, unless another number in these columns has a decimal point. Issues a
        `DataWarning` if the commas may separate thousands.

        Raises `DataError` naming file, line and column of a cell that is not a finite number.
        """
        indices = [self.header.index(name) for name in names]
        cells = [row[index] for _, row in self.rows for index in indices]
        with_comma = [cell for cell in cells if "," in cell]
        decimal_comma = bool(with_comma) and not any("." in cell for cell in cells)
        if decimal_comma and all(GROUPED.fullmatch(cell) for cell in with_comma):
            warn(
                f"{self.path}: read numbers such as {with_comma[0]} with a decimal comma, as "
                f"{with_comma[0].replace(',', '.')}; if the comma separates thousands, delete it"
            )
        return [
            [self._number(line, name, row[index], decimal_comma) for name, index in zip(names, indices, strict=True)]
            for line, row in self.rows
        ]

    def _number(self, line: int, column: str, cell: str, decimal_comma: bool) -> float:
        if "," in cell and (not decimal_comma or cell.count(",") > 1):
            raise DataError(
                f"{self.path}: expected numbers with a decimal point or comma, without a thousands separator, "
                f"in line {line}, column {column}, found {cell!r}"
            )
        return finite_number(self.path, f"line {line}, column {column}", cell.replace(",", "."))


def read_table(path: Path, columns: Sequence[str]) -> Table:
    """Read a table with a header line; the delimiter is the one by which the header has most of `columns`.

    A line such as `sep=;` before the header (written by spreadsheets) overrides it. Blanks around cells and empty lines
    are ignored.

    Raises `DataError` naming the file when it is empty or not text, when a line has more cells than the header, or
    when one of `columns` occurs twice.
    """
    require_file(path)
    with reading(path, "a CSV file"), open_text(path, newline="") as file:
        lines = [*islice((line for line in file if line.strip()), 2)]
        separator = SEPARATOR_LINE.fullmatch(lines[0]) if lines else None
        header = "".join(lines[1:] if separator else lines[:1])
        delimiter = separator[1] if separator else delimiter_of(header, columns)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=delimiter != "\t")
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    rows = rows[1:] if separator else rows
    if not rows:
        raise DataError(f"{path}: expected a header and one line for each point, found an empty file")
    names = tuple(name.lower() for name in rows[0][1])
    repeated = [name for name in columns if names.count(name) > 1]
    if repeated:
        raise DataError(
            f"{path}: expected one column {repeated[0]}, found {names.count(repeated[0])}; rename or delete the others"
        )
    separated_by = DELIMITERS.get(delimiter, repr(delimiter))
    return Table(
        path, separated_by, names, tuple((line, _pad_row(path, line, cells, len(names))) for line, cells in rows[1:])
    )


def delimiter_of(header: str, columns: Sequence[str]) -> str:
    """Return the delimiter by which a header line has most of `columns`, then most columns at all, then the comma."""

    def column_counts(delimiter: str) -> tuple[int, int]:
        names = next(csv.reader([header], delimiter=delimiter, skipinitialspace=delimiter != "\t"), [])
        return len({name.strip().lower() for name in names} & set(columns)), len(names)

    return max(DELIMITERS, key=column_counts)


def _pad_row(path: Path, line: int, cells: list[str], width: int) -> tuple[str, ...]:
    """Pad a row with empty cells to the width of the header; raise `DataError` when it has more cells."""
    if any(cells[width:]):
        raise DataError(
            f"{path}: expected {width} cells in line {line} as in the header, found {len(cells)}; numbers with a "
            "decimal comma need semicolons or tabs between columns"
        )
    return (*cells[:width], *[""] * (width - len(cells)))
