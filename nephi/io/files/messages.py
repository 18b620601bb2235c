"""Messages of foreign libraries: which of them mean that a file is damaged, and the others as warnings."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from nephi.errors import DataWarning, printable, warn

# Python's warning filters belong to the process, so that only one thread may replace them at a time.
WARNING_FILTERS = threading.RLock()

# ITK: "WARNING: In /path/itkName.cxx, line 12\nName (0x1234): text"
ITK_PREFIX = re.compile(r"(?:WARNING|ERROR|Warning|Error): In \S+, line \d+\s+(?:\w+ ?\(0x[0-9a-f]+\): )?")
DAMAGE = re.compile(
    r"error|fail|corrupt|truncat|premature|unexpected end|not enough|incomplete|not read completely|\bcrc\b|\bbad\b|"
    r"invalid|damaged|can ?not|can't|could not|fatal",
    re.IGNORECASE,
)
# Voxels were invented or left out, whatever the library calls it: TIFF's "PackBitsDecode: Warning, Discarding 2 bytes".
LOST_VOXELS = re.compile(r"Decode\w*: |Fill(?:Strip|Tile)|overrun|bogus \"?(?:Strip|Tile)ByteCounts", re.IGNORECASE)
LONGEST = 300  # characters of a message
MOST = 5  # messages about one file


def damage_in(lines: Iterable[str]) -> str | None:
    """Return the first message that means a damaged file, in one line, None if there is none.

    What a library calls a warning counts only when it is about lost voxels.
    """
    for text in lines:
        if LOST_VOXELS.search(text) or (DAMAGE.search(text) and "warning" not in text.lower()):
            return _one_line(text)
    return None


def warn_of(path: object, lines: Iterable[str]) -> None:
    """Issue a `DataWarning` for each different message about a file, for the first few of many."""
    for text in list(dict.fromkeys(map(_one_line, lines)))[:MOST]:
        warn(f"{path}: {text}")


@contextmanager
def python_warnings(path: object, library: str) -> Iterator[None]:
    """Turn what a Python library warns of or logs in this block into `DataWarning`s, when the block ends well.

    `library` is the name of its logger; without a handler of ours, Python prints what it logs.
    """
    logger, handler = logging.getLogger(library), _Kept(logging.WARNING)
    with WARNING_FILTERS, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
    for each in caught:
        if isinstance(each.message, DataWarning):
            warnings.warn(each.message, stacklevel=3)
        else:
            warn_of(path, [str(each.message)])
    warn_of(path, handler.texts)


class _Kept(logging.Handler):
    """Keeps the texts of a logger."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def _one_line(text: str) -> str:
    words = " ".join(ITK_PREFIX.sub("", text).split())
    return printable(words[:LONGEST])
