"""Values of text headers (MetaImage, NRRD), parsed strictly."""

from __future__ import annotations

import math
import re
from pathlib import Path

from nephi.errors import DataError

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
LONGEST = 40  # characters of a number


def number(path: Path, field: str, word: str) -> float:
    """Return `word` as a finite number; raise `DataError` naming file and field when it is none."""
    value = float(word) if len(word) <= LONGEST and NUMBER.fullmatch(word) else math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: expected a finite number for {field}, found {word[:LONGEST]!r}")
    return value


def integer(path: Path, field: str, word: str, low: int, high: int) -> int:
    """Return `word` as a whole number from `low` to `high`; raise `DataError` naming file and field when it is none."""
    value = number(path, field, word)
    if value != round(value) or not low <= value <= high:
        raise DataError(
            f"{path}: expected a whole number from {low} to {high} for {field}, found {word[:LONGEST]!r}; "
            "the header is damaged, or of another kind of data"
        )
    return int(value)


def numbers(path: Path, field: str, text: str, count: int) -> list[float]:
    """Return the `count` finite numbers in `text`; raise `DataError` naming file and field for others."""
    words = text.split(maxsplit=count)
    if len(words) != count:
        raise DataError(f"{path}: expected {count} numbers for {field}, found {text[:LONGEST]!r}")
    return [number(path, field, word) for word in words]


def sizes(path: Path, field: str, text: str, count: int) -> tuple[int, ...]:
    """Return the `count` numbers of voxels in `text`, each at least 1; raise `DataError` for others."""
    words = text.split(maxsplit=count)
    if len(words) != count:
        raise DataError(f"{path}: expected {count} numbers for {field}, found {text[:LONGEST]!r}")
    found = tuple(integer(path, field, word, 1, 2**31 - 1) for word in words)
    if math.prod(found) >= 2**48:
        raise DataError(f"{path}: expected an image of less than 2^48 voxels, found {field} {text[:LONGEST]}")
    return found
