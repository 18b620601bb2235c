"""What C and C++ libraries print to stdout and stderr: captured, so that none of it is lost or on the terminal."""

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

# File descriptors, as ITK's logger, are one for the process: one capture at a time. Reentrant, captures nest.
LOCK = threading.RLock()
MOST = 2**16  # bytes that are kept of what is printed


@contextmanager
def captured_output() -> Iterator[list[str]]:
    """Collect the lines that libraries print to file descriptors 1 and 2 in this block; they are there when it ends.

    Python's own `sys.stdout` and `sys.stderr` go on writing to where they did, from this thread and from others. A
    descriptor that is closed is closed again afterwards. Processes that another thread starts meanwhile print into
    the capture.
    """
    lines: list[str] = []
    with LOCK, ExitStack() as opened:
        _flush_c()
        sink = _sink()
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
            for name, (ours, theirs) in restore.items():
                if getattr(sys, name) is ours:
                    setattr(sys, name, theirs)
            os.lseek(sink, 0, os.SEEK_SET)
            text = os.read(sink, MOST).decode("utf-8", "replace")
            lines.extend(line.strip() for line in text.splitlines() if line.strip())


def _duplicate(number: int) -> int | None:
    """Return a duplicate of a descriptor, numbered above 2; None when it is closed."""
    try:
        copies = [os.dup(number)]
    except OSError as error:
        if error.errno != errno.EBADF:  # no descriptor is left: then nothing may be redirected
            raise
        return None
    while copies[-1] <= 2:  # 0, 1 or 2 is closed, too
        copies.append(os.dup(number))
    for low in copies[:-1]:
        os.close(low)
    return copies[-1]


def _sink() -> int:
    """Return the descriptor, above 2, of a file that exists only while it is open."""
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
    """Let Python's streams that write to a descriptor in `saved` write to its duplicate; return new and old ones.

    The new streams own duplicates of their own: a thread may hold one after the capture has ended.
    """
    replaced: dict[str, tuple[object, object]] = {}
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream, copy = getattr(sys, name), saved[number]
        if copy is None or _descriptor_of(stream) != number:
            continue
        with suppress(OSError, ValueError):
            stream.flush()
        own = os.dup(copy)
        ours = io.TextIOWrapper(io.FileIO(own, "w", closefd=False), stream.encoding, stream.errors, write_through=True)
        weakref.finalize(ours, os.close, own)  # without the ResourceWarning of files that close their descriptor
        replaced[name] = (ours, stream)
        setattr(sys, name, ours)
    return replaced


def _descriptor_of(stream: object) -> int | None:
    try:
        number: int = stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return None
    return number


def _flush_c() -> None:
    """Write out what the C library buffers: a library's last lines would otherwise be printed after the capture."""
    with suppress(OSError, TypeError, AttributeError):  # Windows has no such handle
        ctypes.CDLL(None).fflush(None)
