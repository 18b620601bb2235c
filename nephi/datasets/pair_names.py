"""Names of pairs: they become folders of results, on any file system and beside each other."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from nephi.errors import DataError

SUMMARY = "summary.csv"  # the table beside the folders
ALLOWED = re.compile(r"[\w-][\w.-]*")
LONGEST = 200  # bytes of UTF-8: file systems hold 255, and archives, clouds and encrypted folders less
# https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file; with any suffix, too.
RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)


def check_pair_names(names: Sequence[str], place: Callable[[int], str]) -> None:
    """Raise `DataError` for the first name that cannot be that of a folder of its own; `place(i)` is where it stands.

    Names have to differ in more than the case of letters and the Unicode normalization, which some file systems ignore.
    """
    taken: dict[str, int] = {}
    for number, name in enumerate(names):
        if (wrong := _wrong(name)) is not None:
            raise DataError(f"{place(number)}: name: {wrong}")
        first = taken.setdefault(_folded(name), number)
        if first != number and names[first] == name:
            count = names.count(name)
            raise DataError(f"{place(first)}: {count} pairs are called {name!r}; give each a name of its own")
        if first != number:
            raise DataError(
                f"{place(number)}: name: {name!r} differs from {names[first]!r} ({place(first)}) only in case or "
                "Unicode normalization; some file systems take them for one: rename one of them"
            )


def _wrong(name: str) -> str | None:
    """Return what is wrong with a name by itself, None where nothing is."""
    if not ALLOWED.fullmatch(name):
        return f"expected letters, digits, '.', '_' and '-', found {name[:LONGEST]!r}"
    if name.endswith("."):
        return f"expected a name that does not end in '.' (Windows drops it), found {name[:LONGEST]!r}"
    longest = max(len(unicodedata.normalize(form, name).encode()) for form in ("NFC", "NFD"))
    if longest > LONGEST:
        return f"expected at most {LONGEST} bytes, found {longest} ({name[:40]}...); give the pair a shorter one"
    if RESERVED.fullmatch(unicodedata.normalize("NFKC", name)):
        return f"expected one that Windows does not reserve for devices, found {name!r}"
    if _folded(name) == SUMMARY:
        return f"expected another than {SUMMARY}, the table of all results, found {name!r}"
    return None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
