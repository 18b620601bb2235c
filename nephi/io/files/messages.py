"""Messages of other libraries: those that mean a damaged file, and the others as warnings."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from nephi.errors import DataWarning, printable, warn

# Python's warning filters belong to the process, so one thread at a time may replace them.
WARNING_FILTERS = threading.RLock()

# ITK: "WARNING: In /path/itkName.cxx, line 12\nName (0x1234): text"
ITK_PREFIX = re.compile(r"(?:WARNING|ERROR|Warning|Error): In \S+, line \d+\s+(?:\w+ ?\(0x[0-9a-f]+\): )?")
DAMAGE = re.compile(
    r"error|fail|corrupt|truncat|premature|unexpected end|not enough|incomplete|not read completely|\bcrc\b|\bbad\b|"
    r"invalid|damaged|can ?not|can't|could not|fatal",
    re.IGNORECASE,
)
# Voxels were invented or dropped, even if the library calls it a warning: TIFF's "PackBitsDecode: Warning, Discarding".
LOST_VOXELS = re.compile(r"Decode\w*: |Fill(?:Strip|Tile)|overrun|bogus \"?(?:Strip|Tile)ByteCounts", re.IGNORECASE)
MAX_LENGTH = 300  # characters of a message
MAX_MESSAGES = 5  # about one file


def find_damage(lines: Iterable[str]) -> str | None:
    """Return the first message that means a damaged file, in one line; None without one.

    Messages that a library calls warnings count only if they are about lost voxels.
    """
    for text in lines:
        if LOST_VOXELS.search(text) or (DAMAGE.search(text) and "warning" not in text.lower()):
            return _one_line(text)
    return None


def warn_about(path: object, lines: Iterable[str]) -> None:
    """Issue a `DataWarning` for each distinct message about a file, at most `MAX_MESSAGES`."""
    for text in list(dict.fromkeys(map(_one_line, lines)))[:MAX_MESSAGES]:
        warn(f"{path}: {text}")


@contextmanager
def collect_python_warnings(path: object, library: str) -> Iterator[None]:
    """Convert warnings and log messages of a Python library to `DataWarning`s, if the block ends without an error.

    `library` is the name of its logger, whose messages Python would print without a handler.
    """
    logger, handler = logging.getLogger(library), _MessageHandler(logging.WARNING)
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
            warn_about(path, [str(each.message)])
    warn_about(path, handler.texts)


class _MessageHandler(logging.Handler):
    """Collect the messages of a logger in `texts`."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def _one_line(text: str) -> str:
    words = " ".join(ITK_PREFIX.sub("", text).split())
    return printable(words[:MAX_LENGTH])
