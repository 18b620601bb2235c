"""Parse values of text headers (MetaImage, NRRD) strictly: numbers, axis lengths, and names of data files."""

from __future__ import annotations

import math
import os
import re
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from nephi.errors import DataError

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
MAX_LENGTH = 40  # characters of a number
COUNTER = re.compile(r"%(?:0?[1-9])?d")  # printf conversions that are accepted: %d, %3d, %03d
MAX_NAME = 255  # characters of a name, the limit of common file systems


def parse_number(path: Path, field: str, word: str) -> float:
    """Convert `word` to a finite number; raise `DataError` naming file and field for any other text."""
    value = float(word) if len(word) <= MAX_LENGTH and NUMBER.fullmatch(word) else math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: expected a finite number for {field}, found {word[:MAX_LENGTH]!r}")
    return value


def parse_integer(path: Path, field: str, word: str, low: int, high: int) -> int:
    """Convert `word` to a whole number from `low` to `high`; raise `DataError` naming file and field otherwise."""
    value = parse_number(path, field, word)
    if value != round(value) or not low <= value <= high:
        raise DataError(
            f"{path}: expected a whole number from {low} to {high} for {field}, found {word[:MAX_LENGTH]!r}; "
            "the header is damaged, or the file is of another kind"
        )
    return int(value)


def parse_numbers(path: Path, field: str, text: str, count: int) -> list[float]:
    """Convert `text` to `count` finite numbers; raise `DataError` naming file and field otherwise."""
    words = text.split(maxsplit=count)
    if len(words) != count:
        raise DataError(f"{path}: expected {count} numbers for {field}, found {text[:MAX_LENGTH]!r}")
    return [parse_number(path, field, word) for word in words]


def parse_sizes(path: Path, field: str, text: str, count: int) -> tuple[int, ...]:
    """Convert `text` to `count` axis lengths, each at least 1; raise `DataError` naming file and field otherwise."""
    words = text.split(maxsplit=count)
    if len(words) != count:
        raise DataError(f"{path}: expected {count} numbers for {field}, found {text[:MAX_LENGTH]!r}")
    lengths = tuple(parse_integer(path, field, word, 1, 2**31 - 1) for word in words)
    if math.prod(lengths) >= 2**48:
        raise DataError(f"{path}: expected less than 2^48 voxels, found {field} {text[:MAX_LENGTH]}")
    return lengths


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
