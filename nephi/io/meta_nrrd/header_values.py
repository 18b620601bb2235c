"""Parse values of text headers (MetaImage, NRRD) strictly."""

from __future__ import annotations

import math
import re
from pathlib import Path

from nephi.errors import DataError

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
MAX_LENGTH = 40  # characters of a number


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
