"""Read values of DICOM headers (pydicom's `Dataset`) as text, numbers or items; errors name the file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from nephi.errors import DataError
from nephi.io.files.input_files import reading
from nephi.io.files.messages import collect_python_warnings


def text_of(header: Any, keyword: str, path: Path) -> str:
    """Return a value of a pydicom `Dataset` as text, empty if missing; multiple values are separated by a backslash."""
    value = _value(header, keyword, path)
    if value is None:
        return ""
    return str(value) if isinstance(value, str) or not hasattr(value, "__iter__") else "\\".join(map(str, value))


def label_text(header: Any, keyword: str) -> str:
    """Return a value that only describes an image as text, empty if missing; a damaged one is replaced in part."""
    if keyword not in header:
        return ""
    value = header.get_item(keyword).value  # bytes before the first access, which may warn or fail
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    return text.strip(" \0")


def items_of(header: Any, keyword: str, path: Path) -> list[Any]:
    """Return the items of a sequence in a pydicom `Dataset`; empty if it is missing or not a sequence."""
    value = _value(header, keyword, path)
    return [item for item in value if hasattr(item, "get")] if value is not None and not isinstance(value, str) else []


def _value(header: Any, keyword: str, path: Path) -> Any:
    """Return a value of a `Dataset`; warnings of pydicom, which converts it at the first access, are collected."""
    if keyword not in header:
        return None
    with reading(path, f"a readable {keyword}"):
        if not header.get_item(keyword).is_raw:
            return header.get(keyword)
        with collect_python_warnings(path, "pydicom"):
            return header.get(keyword)


def numbers(header: Any, keyword: str, count: int, path: Path) -> tuple[float, ...] | None:
    """Return `count` finite numbers of a pydicom `Dataset`; None if the element is missing or empty.

    Raises `DataError` for another count, text that is not a number, NaN and infinity.
    """
    text = text_of(header, keyword, path)
    if not text:
        return None
    try:
        values = tuple(float(part) for part in text.split("\\"))
    except ValueError:
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        expected = "one finite number" if count == 1 else f"{count} finite numbers"
        raise DataError(f"{path}: expected {expected} as {keyword}, found {text!r}; the header may be damaged")
    return values
