"""Writing a file in full or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nephi.errors import DataError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to; when the block ends well, its file takes the place of `path` at once.

    The temporary file has the final name, in a hidden folder beside `path`: formats that choose by suffix or
    that name a second file (`.mhd` and its `.raw`) come out right, and no copy between disks is needed. Second
    files found there are moved first. When the block raises, an older file at `path` stays as it was and nothing
    is left over.

    Raises `DataError` naming the file when the folder is missing or not writable, when something that is not a
    file is in the way, or when writing fails (a full disk).
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        raise DataError(f"{path}: expected a file or nothing there, found a folder or device; choose another name")
    try:
        workshop = Path(tempfile.mkdtemp(prefix=".nephi-", dir=target.parent))
    except OSError as error:
        raise DataError(
            f"{path}: cannot write into the folder {target.parent} ({error.strerror}); "
            "create it, or choose a folder you may write to"
        ) from error
    try:
        yield workshop / target.name
        for companion in workshop.iterdir():
            if companion.name != target.name:
                os.replace(companion, target.parent / companion.name)
        os.replace(workshop / target.name, target)
    except OSError as error:
        raise DataError(f"{path}: could not be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it: what is resumed after a power cut has to be there."""
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all; raises `DataError` naming the file when it cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
