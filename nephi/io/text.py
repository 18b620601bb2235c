"""Text files of points and tables, in the encodings that spreadsheets write."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TextIO

from nephi.errors import DataError
from nephi.io.foreign import require_file

ZIP = b"PK\x03\x04"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def open_text(path: Path, newline: str | None = None) -> TextIO:
    """Open a text file in UTF-8, or in UTF-16 where its first bytes say so; `newline` as in Python's `open`.

    Raises `DataError` naming the file for a spreadsheet, and for other binary data.
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
