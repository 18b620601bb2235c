"""Validation of pair names, which become names of result folders on any file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from nephi.errors import DataError

SUMMARY = "summary.csv"  # the table in the same folder
ALLOWED = re.compile(r"[\w-][\w.-]*")
MOST_BYTES = 200  # of UTF-8: file systems allow 255, archives, cloud storage and encrypted folders less
# https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file; reserved with any suffix as well
RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)


def check_pair_names(names: Sequence[str], entry: Callable[[int], str]) -> None:
    """Raise `DataError` for the first name that is invalid or not unique; `entry(i)` names its place in the file.

    Names that differ only in case or Unicode normalization count as equal, as on some file systems.
    """
    first_use: dict[str, int] = {}
    for number, name in enumerate(names):
        if (problem := _name_problem(name)) is not None:
            raise DataError(f"{entry(number)}: name: {problem}")
        first = first_use.setdefault(_normalized(name), number)
        if first != number and names[first] == name:
            raise DataError(
                f"{entry(first)}: name: {names.count(name)} pairs have the name {name!r}; it must be unique"
            )
        if first != number:
            raise DataError(
                f"{entry(number)}: name: {name!r} differs from {names[first]!r} ({entry(first)}) only in case or "
                "Unicode normalization, which some file systems ignore; rename one of them"
            )


def _name_problem(name: str) -> str | None:
    """Return what was expected of an invalid name and what was found, None for a valid one."""
    if not ALLOWED.fullmatch(name):
        return f"expected letters, digits, '.', '_' and '-', found {name[:MOST_BYTES]!r}"
    if name.endswith("."):
        return f"expected no '.' at the end (Windows removes it), found {name[:MOST_BYTES]!r}"
    size = max(len(unicodedata.normalize(form, name).encode()) for form in ("NFC", "NFD"))
    if size > MOST_BYTES:
        return f"expected at most {MOST_BYTES} bytes, found {size} ({name[:40]}...); use a shorter name"
    if RESERVED.fullmatch(unicodedata.normalize("NFKC", name)):
        return f"expected no name that Windows reserves for devices, found {name!r}"
    if _normalized(name) == SUMMARY:
        return f"expected another name than {SUMMARY}, the table of all results, found {name!r}"
    return None


def _normalized(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
