"""Capture the output of C and C++ libraries to stdout and stderr, to report it as warnings or errors."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

# File descriptors and ITK's logger belong to the process: one thread captures at a time. Reentrant: captures may nest.
LOCK = threading.RLock()
MAX_OUTPUT = 2**16  # bytes of output that are kept


@contextmanager
def captured_output() -> Iterator[list[str]]:
    """Collect the lines that libraries write to file descriptors 1 and 2; the list is filled when the block ends.

    Python's `sys.stdout` and `sys.stderr` keep their destination, in this thread and in others. A descriptor that was
    closed is closed again afterwards. Processes that another thread starts during the block write into the capture.
    """
    lines: list[str] = []
    with LOCK, ExitStack() as opened:
        _flush_c()
        sink = _open_sink()
        opened.callback(os.close, sink)
        saved: dict[int, int | None] = {}
        for number in (1, 2):
            saved[number] = copy = _duplicate(number)
            if copy is not None:
                opened.callback(os.close, copy)
        restore = _redirect_python(saved)
        try:
            for number in saved:
                os.dup2(sink, number)
            yield lines
        finally:
            _flush_c()
            for number, copy in saved.items():
                if copy is None:
                    os.close(number)
                else:
                    os.dup2(copy, number)
            for name, (replacement, original) in restore.items():
                if getattr(sys, name) is replacement:
                    setattr(sys, name, original)
            os.lseek(sink, 0, os.SEEK_SET)
            text = os.read(sink, MAX_OUTPUT).decode("utf-8", "replace")
            lines.extend(line.strip() for line in text.splitlines() if line.strip())


def _duplicate(number: int) -> int | None:
    """Duplicate a descriptor to a number above 2; return None if it is closed."""
    try:
        copies = [os.dup(number)]
    except OSError as error:
        if error.errno != errno.EBADF:  # other errors (no descriptor is left): do not redirect
            raise
        return None
    while copies[-1] <= 2:  # 0, 1 or 2 was free
        copies.append(os.dup(number))
    for low in copies[:-1]:
        os.close(low)
    return copies[-1]


def _open_sink() -> int:
    """Open a file without a name, and return its descriptor, above 2."""
    if hasattr(os, "memfd_create"):
        first = os.memfd_create("captured")
    else:
        with tempfile.TemporaryFile() as file:
            first = os.dup(file.fileno())
    copy = _duplicate(first)
    os.close(first)
    assert copy is not None
    return copy


def _redirect_python(saved: dict[int, int | None]) -> dict[str, tuple[object, object]]:
    """Redirect Python's streams from the descriptors in `saved` to their duplicates; return new and original streams.

    Each new stream owns another duplicate, because a thread may use the stream after the capture has ended.
    """
    replaced: dict[str, tuple[object, object]] = {}
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream, copy = getattr(sys, name), saved[number]
        if copy is None or _descriptor_of(stream) != number:
            continue
        with suppress(OSError, ValueError):
            stream.flush()
        duplicate = os.dup(copy)
        raw = io.FileIO(duplicate, "w", closefd=False)
        replacement = io.TextIOWrapper(raw, stream.encoding, stream.errors, write_through=True)
        weakref.finalize(replacement, os.close, duplicate)  # avoids the ResourceWarning of FileIO(closefd=True)
        replaced[name] = (replacement, stream)
        setattr(sys, name, replacement)
    return replaced


def _descriptor_of(stream: object) -> int | None:
    try:
        number: int = stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return None
    return number


def _flush_c() -> None:
    """Flush the buffers of the C library, whose last lines would otherwise be printed after the capture."""
    with suppress(OSError, TypeError, AttributeError):  # Windows has no such handle
        ctypes.CDLL(None).fflush(None)
