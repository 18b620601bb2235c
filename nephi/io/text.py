"""Text files that people and spreadsheets write: their encodings, and the numbers in them."""

from __future__ import annotations

import codecs
import math
import reprlib
from pathlib import Path
from typing import TextIO

from nephi.documents import read_json
from nephi.errors import DataError
from nephi.io.files.input_files import require_file

ZIP = b"PK\x03\x04"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def open_text(path: Path, newline: str | None = None) -> TextIO:
    """Open a text file in UTF-8, or in UTF-16 if it starts with that byte order mark; `newline` as in Python's `open`.

    Raises `DataError` naming the file for a spreadsheet or other binary data.
    """
    with open(require_file(path), "rb") as file:
        start = file.read(1024)
    if start.startswith(UTF_16):
        return open(path, encoding="utf-16", newline=newline)
    if start.startswith(ZIP):
        raise DataError(f"{path}: expected text, found a spreadsheet (.xlsx, .ods) or another archive; save it as CSV")
    if b"\0" in start:
        raise DataError(f"{path}: expected text, found binary data; save it as text in UTF-8")
    return open(path, encoding="utf-8-sig", newline=newline)


def json_keys(path: str | Path) -> frozenset[str]:
    """Return the keys of the object in a JSON file, which show its kind; none for anything else."""
    try:
        table = read_json(Path(path), "JSON")
    except DataError:
        return frozenset()
    return frozenset(table) if isinstance(table, dict) else frozenset()


def finite_number(path: Path, where: str, cell: object) -> float:
    """Convert a cell (text, or a number of JSON) to a finite number.

    Raises `DataError` naming the file and `where` the cell is, for anything else.
    """
    try:
        is_plain = not isinstance(cell, str) or (cell.isascii() and "_" not in cell)  # float() also accepts 1_0
        value = float(cell) if isinstance(cell, str | int | float) and is_plain else math.nan
    except (ValueError, OverflowError):  # overflow: an integer beyond the range of float
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: expected a finite number in {where}, found {reprlib.repr(cell)}")
    return value
