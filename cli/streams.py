"""Standard streams that never stop the work: closed, full, or of another encoding."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

DESCRIPTORS = (0, 1, 2)


class StandardOutput(io.FileIO):
    """A standard stream that goes on after a failed write; `failure` is the first error."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:  # any buffer
        """Write the data; where that fails, drop it."""
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError as error:
            self.failure = self.failure or error
            return len(data)


def open_closed_descriptors() -> None:
    """Open those of the three standard descriptors that are closed as the null device.

    Else the next file that is opened becomes standard error (`2>&-`), and what libraries print there goes into it.
    """
    for number in DESCRIPTORS:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def replace_standard_streams() -> tuple[StandardOutput, StandardOutput]:
    """Replace `sys.stdout` and `sys.stderr` by streams that drop what cannot be written; return what is below them.

    Characters that their encoding does not have are written as `\\xff`, `\\u1234`.
    """
    raw = (StandardOutput(1, "w", closefd=False), StandardOutput(2, "w", closefd=False))
    sys.stdout, sys.stderr = (_text(below, old) for below, old in zip(raw, (sys.stdout, sys.stderr), strict=True))
    return raw


def _text(below: StandardOutput, old: TextIO | None) -> TextIO:
    encoding = old.encoding if old is not None else "utf-8"
    stream = io.BufferedWriter(below)
    return io.TextIOWrapper(stream, encoding, "backslashreplace", line_buffering=True)
