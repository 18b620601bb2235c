"""A lock against other processes that lasts as long as its process, so that a crash leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nephi.errors import DataError


@contextmanager
def locked_file(path: Path, problem: str) -> Iterator[tuple[int, ...]]:
    """Lock the file `path` while the block runs, created if it is missing; yield its open descriptor.

    The system ends the lock with the last process that holds the descriptor, however it ends; the file stays, since a
    lock on a deleted file locks nothing. Without effect on systems and file systems without locks; the tuple is then
    empty. Raises `DataError` with `problem` for a lock that another process holds, and for a file that cannot be
    written.
    """
    if os.name != "posix":
        yield ()
        return
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from None
    is_locked = True
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(problem) from None
        except OSError:  # a file system without locks
            is_locked = False
        yield (descriptor,) if is_locked else ()
    finally:
        os.close(descriptor)
