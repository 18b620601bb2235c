"""Names of data files that a header refers to (`.mhd`, `.nhdr`): which ones are followed."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from nephi.errors import DataError

COUNTER = re.compile(r"%(?:0?[1-9])?d")  # the one printf conversion that is filled in, by us: %d, %3d, %03d
LIMIT = 255  # characters of a name, as file systems have it


def data_file(header: Path, name: str) -> Path:
    """Return the path of the data file `name` that a header refers to.

    Only regular files in the header's folder or a folder below it are followed, directly or through symbolic links.
    Raises `DataError` for an absolute name, one with `..`, `%` or control characters, and for what is missing or no
    regular file (a pipe would block for ever, a device never ends).
    """
    kinds = (PurePosixPath(name), PureWindowsPath(name))
    if not name or len(name) > LIMIT or not name.isprintable() or "%" in name:
        raise _refused(header, name, "a name of printable characters without %")
    if any(kind.is_absolute() or kind.drive or ".." in kind.parts for kind in kinds):
        raise _refused(header, name, "a name in the header's folder")
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
        raise DataError(f"{header}: expected a regular data file, found that {path.name} is a folder, pipe or device")
    return path


def numbered_files(header: Path, pattern: str, numbers: range) -> tuple[Path, ...]:
    """Return the data files whose names are `pattern` with each number in the place of its `%d` (`%3d`, `%03d`).

    Raises `DataError` when the pattern has another conversion, several or none, and as `data_file` does.
    """
    found = COUNTER.findall(pattern)
    if len(found) != 1 or pattern.count("%") != 1:
        raise _refused(header, pattern, "a pattern with one %d")
    before, after = pattern.split(found[0])
    return tuple(data_file(header, before + (found[0] % number) + after) for number in numbers)


def _refused(header: Path, name: str, expected: str) -> DataError:
    return DataError(
        f"{header}: expected {expected} for the data file, found {name[:80]!r}; "
        "put the data file beside the header, and write its name there"
    )
