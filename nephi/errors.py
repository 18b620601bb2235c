"""Exceptions of nephi, each with its exit code on the command line, and warnings.

Imports nothing of nephi. A warning is one line of text for the user. `warn` issues it as a Python warning of category
`DataWarning`, and appends it to the list of every active `collected_warnings` block.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class NephiError(Exception):
    """Base of all errors that nephi raises intentionally; the message is one line for the user."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the message in one printable line, as it may quote contents of a file."""
        return printable(super().__str__())


class UsageError(NephiError):
    """Invalid call: an unknown name, incompatible arguments, a wrong shape."""

    exit_code = 2


class DataError(NephiError):
    """Invalid data: a missing, damaged or unsuitable file, image, mask, transform or setting."""

    exit_code = 3


class PlausibilityError(NephiError):
    """Implausible images or result, if the caller requests an error for them (`nephi register --strict`)."""

    exit_code = 4


class QualityError(PlausibilityError):
    """A result whose verdict is `failed`, if the caller requests an error for it (`nephi register --strict`)."""

    exit_code = 5


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory could not be allocated: `MemoryError`, or the `RuntimeError` that torch raises instead."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # of a GPU
        return True
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in ("can't allocate memory", "not enough memory", "std::bad_alloc")
    )


class DataWarning(UserWarning):
    """Data that is contradictory or incomplete, and how it is interpreted; or an implausible input or result.

    The text names the file or argument.
    """


class PlausibilityWarning(DataWarning):
    """Images, masks or landmarks that do not match each other or the settings, or a result that is probably wrong."""


Collector = tuple[type[DataWarning], list[str]]
_collectors: ContextVar[tuple[Collector, ...]] = ContextVar("collectors", default=())


def warn(text: str, category: type[DataWarning] = DataWarning) -> None:
    """Issue a warning, and append its text to the list of every active `collected_warnings` block, once."""
    for collected_category, texts in _collectors.get():
        if issubclass(category, collected_category) and text not in texts:
            texts.append(text)
    warnings.warn(category(text), stacklevel=3)


@contextmanager
def collected_warnings(category: type[DataWarning] = DataWarning) -> Iterator[list[str]]:
    """Collect the texts of all warnings of a `category` that nephi issues inside the block, in order, each text once.

    Blocks may be nested; each collects all texts. Other threads have separate collections.
    """
    texts: list[str] = []
    token = _collectors.set((*_collectors.get(), (category, texts)))
    try:
        yield texts
    finally:
        _collectors.reset(token)


def printable(text: str) -> str:
    r"""Escape all control and invisible characters of a text, as in Python string literals; return it as one line.

    File names, labels and headers may contain escape sequences (ESC, C1), line breaks, characters that change the
    writing direction, and lone surrogates (names that are not UTF-8). Zero-width joiners are kept: they are part of
    names.
    """
    if text.isprintable():
        return text
    return "".join(character if _is_visible(character) else _escape(character) for character in text)


def _is_visible(character: str) -> bool:
    return character in "\u200c\u200d" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
