"""The few exceptions a caller can catch, each with the exit code the command line ends with, and warnings.

Imports nothing of nephi. A warning is one line of text for the user, issued by `warn` in two ways at once: as Python's
own warning of category `DataWarning`, and into every list that `collected_warnings` has open.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class NephiError(Exception):
    """Base of every error that nephi raises on purpose; its text is one line for the user."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the text in one printable line: it may quote what stands in a file."""
        return printable(super().__str__())


class UsageError(NephiError):
    """The call is wrong: an unknown name, arguments that do not go together, a shape that cannot be."""

    exit_code = 2


class DataError(NephiError):
    """The data is wrong: a missing, damaged or unsuitable file, image, mask, transform or setting."""

    exit_code = 3


class PlausibilityError(NephiError):
    """Images or result are not plausible, and the caller wants that to be an error (`nephi register --strict`)."""

    exit_code = 4


class DataWarning(UserWarning):
    """Data that contradicts itself or leaves something open, and how nephi decided; or an implausible input or result.

    The text names the file or argument.
    """


class PlausibilityWarning(DataWarning):
    """Images, masks or landmarks that do not suit each other or the settings, or a result that is hardly right."""


Collector = tuple[type[DataWarning], list[str]]
_collectors: ContextVar[tuple[Collector, ...]] = ContextVar("collectors", default=())


def warn(text: str, category: type[DataWarning] = DataWarning) -> None:
    """Issue a warning, and append its text to every list of `collected_warnings` that does not hold it yet."""
    for wanted, texts in _collectors.get():
        if issubclass(category, wanted) and text not in texts:
            texts.append(text)
    warnings.warn(category(text), stacklevel=3)


@contextmanager
def collected_warnings(category: type[DataWarning] = DataWarning) -> Iterator[list[str]]:
    """Collect the texts of all warnings of a `category` that nephi issues inside the block, in order, each text once.

    Blocks nest, and every one of them gets all texts. Other threads collect for themselves.
    """
    texts: list[str] = []
    token = _collectors.set((*_collectors.get(), (category, texts)))
    try:
        yield texts
    finally:
        _collectors.reset(token)


def printable(text: str) -> str:
    r"""Return a text in one line that a terminal shows as it is: what would control it is escaped as in Python.

    File names, labels and headers may hold anything: escape sequences (ESC, C1), line breaks, characters that turn the
    direction of writing or that cannot be seen, lone surrogates (names that are not UTF-8). Joiners are part of names.
    """
    if text.isprintable():
        return text
    return "".join(character if _is_shown(character) else _escaped(character) for character in text)


def _is_shown(character: str) -> bool:
    return character in "\u200c\u200d" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
