"""Read names of labels: label files of ITK-SNAP, colour tables of 3-D Slicer and FreeSurfer."""

from __future__ import annotations

import re
from pathlib import Path

from nephi.errors import DataError
from nephi.io.files.input_files import reading
from nephi.io.text import open_text

MAX_CHARACTERS = 2**24  # FreeSurfer's table of 1,700 labels has 2^17
MAX_DIGITS = 18  # of a label: below 2^63
SLICER_TITLE = re.compile(r"#\s*Color table file", re.IGNORECASE)
ITK_SNAP_COLUMNS = 7  # IDX R G B A VIS MSH, followed by the quoted name
COLOUR_COLUMNS = (5, 6)  # number, name, R G B, and A except in old files
FORMATS = (
    'a line of ITK-SNAP\'s label descriptions (IDX R G B A VIS MSH "LABEL") or of a colour table of 3-D Slicer or '
    "FreeSurfer (number, name without blanks, R G B A)"
)


def read_label_names(path: str | Path) -> dict[int, str]:
    """Read the names of labels from a table of colours; the format is recognised by its lines.

    ITK-SNAP's label descriptions (`.label`, `.txt`), `.ctbl` of 3-D Slicer and FreeSurfer's `LUT.txt`. Names of Slicer
    get blanks for their underscores, as in Slicer. Empty lines and comments (`#`) are skipped.

    Raises `DataError` naming the file and line for any other line and for a label with two names, and for a file
    without names or of more than 16 million characters.
    """
    path = Path(path)
    with reading(path, "names of labels"), open_text(path) as file:
        text = file.read(MAX_CHARACTERS + 1)
    if len(text) > MAX_CHARACTERS:
        raise DataError(f"{path}: expected names of labels of at most {MAX_CHARACTERS} characters, found more")
    names: dict[int, str] = {}
    blanks = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            if SLICER_TITLE.match(line):
                blanks = {ord("_"): " "}
            continue
        label, name = _label_and_name(path, number, line)
        name = name.translate(blanks)
        if names.setdefault(label, name) != name:
            raise DataError(
                f"{path}: expected one name for each label, found {names[label]!r} and {name!r} for {label} in line "
                f"{number}; delete one of the two lines"
            )
    if not names:
        raise DataError(f"{path}: expected {FORMATS} for each label, found none")
    return names


def _label_and_name(path: Path, number: int, line: str) -> tuple[int, str]:
    """Return the label and the name of a line; raise `DataError` naming the line if it has none."""
    before, quote, after = line.partition('"')
    name, closing, rest = after.rpartition('"')
    columns = before.split()
    if quote:
        is_valid = bool(closing) and not rest.strip() and len(columns) == ITK_SNAP_COLUMNS
        values = columns
    else:
        is_valid = len(columns) in COLOUR_COLUMNS
        name = columns[1] if is_valid else ""
        values = columns[:1] + columns[2:]
    if not is_valid or not all(map(_is_number, values)) or not (columns[0].isdigit() and len(columns[0]) <= MAX_DIGITS):
        raise DataError(f"{path}: expected {FORMATS}, found {line.strip()[:60]!r} in line {number}")
    return int(columns[0]), name


def _is_number(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()
