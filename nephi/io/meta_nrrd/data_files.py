"""Validate the names of data files that a header (`.mhd`, `.nhdr`) refers to, and return their paths."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from nephi.errors import DataError

COUNTER = re.compile(r"%(?:0?[1-9])?d")  # printf conversions that are accepted: %d, %3d, %03d
MAX_NAME = 255  # characters of a name, the limit of common file systems


def data_file(header: Path, name: str) -> Path:
    """Return the path of the data file `name` that a header refers to.

    Only regular files in the header's folder or below it are allowed, directly or through symbolic links. Raises
    `DataError` for an absolute name, for a name with `..`, `%` or control characters, and for a path that is missing or
    not a regular file (a pipe may block for ever, a device may never end).
    """
    kinds = (PurePosixPath(name), PureWindowsPath(name))
    if not name or len(name) > MAX_NAME or not name.isprintable() or "%" in name:
        raise _invalid_name(header, name, "a name of printable characters without %")
    if any(kind.is_absolute() or kind.drive or ".." in kind.parts for kind in kinds):
        raise _invalid_name(header, name, "a path inside of the header's folder")
    return require_regular(header.parent / name, header)


def require_regular(path: Path, header: Path) -> Path:
    """Return `path`; raise `DataError` naming `header` unless it is a regular file."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise DataError(
            f"{header}: its data file {path.name} is missing ({getattr(error, 'strerror', None) or error}); "
            "put it beside the header"
        ) from error
    if not stat.S_ISREG(mode):
        raise DataError(f"{header}: expected a regular file as data file, found a folder, pipe or device: {path.name}")
    return path


def numbered_files(header: Path, pattern: str, numbers: range) -> tuple[Path, ...]:
    """Return the data files whose names are `pattern` with its `%d` (`%3d`, `%03d`) replaced by each number.

    Raises `DataError` when the pattern does not have exactly one such conversion, and the errors of `data_file`.
    """
    conversions = COUNTER.findall(pattern)
    if len(conversions) != 1 or pattern.count("%") != 1:
        raise _invalid_name(header, pattern, "a pattern with one %d")
    before, after = pattern.split(conversions[0])
    return tuple(data_file(header, before + (conversions[0] % number) + after) for number in numbers)


def _invalid_name(header: Path, name: str, expected: str) -> DataError:
    return DataError(
        f"{header}: expected {expected} for the data file, found {name[:80]!r}; "
        "put the data file beside the header, and write its name into the header"
    )
