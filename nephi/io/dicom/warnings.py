"""Convert warnings and log messages of pydicom to warnings of nephi."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from nephi.errors import DataWarning, warn
from nephi.io.files.messages import WARNING_FILTERS

S = TypeVar("S")
T = TypeVar("T")


class LibraryWarnings(logging.Handler):
    """Warnings of pydicom with the files they are about; each text is issued once for all of its files."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.files: dict[str, list[Path]] = {}
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Store a log message of pydicom."""
        self.texts.append(record.getMessage())

    def collect(self, call: Callable[[S], T], argument: S, path: Path) -> T:
        """Return `call(argument)`; store the warnings of pydicom during the call as those of the file `path`."""
        logger = logging.getLogger("pydicom")
        self.texts.clear()
        caught: list[warnings.WarningMessage] = []
        try:
            with WARNING_FILTERS, warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                logger.addHandler(self)
                return call(argument)
        finally:
            logger.removeHandler(self)
            for each in caught:
                if isinstance(each.message, DataWarning):  # a warning of nephi in another thread
                    warnings.warn(each.message, stacklevel=2)
                else:
                    self.texts.append(str(each.message))
            for text in dict.fromkeys(self.texts):
                self.files.setdefault(" ".join(text.split()), []).append(path)

    def issue(self) -> None:
        """Issue all stored texts as warnings of nephi."""
        for text, paths in self.files.items():
            others = f" (and {len(paths) - 1} more files)" if len(paths) > 1 else ""
            warn(f"{paths[0]}{others}: pydicom: {text.split(' Please see ')[0]}")
        self.files.clear()
