"""Paths for C++ libraries that abort the process for a name that is not UTF-8 (SimpleITK)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nephi.documents import is_unicode


@contextmanager
def readable_path(path: Path) -> Iterator[Path]:
    """Yield a path in UTF-8 from which the file `path` can be read: itself, or a temporary link to it."""
    if is_unicode(str(path)):  # bytes that are not UTF-8 are surrogates in Python's strings
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="nephi-") as folder:
        link = Path(folder, f"file{_ascii(path.suffix)}")
        link.symlink_to(path.absolute())
        yield link


@contextmanager
def writable_path(path: Path) -> Iterator[Path]:
    """Yield a path in UTF-8 to write to: itself, or a temporary one whose files are moved to `path` at the end.

    Second files (the `.raw` of a `.mhd`) keep the name that the first file stores.
    """
    if is_unicode(str(path)):  # bytes that are not UTF-8 are surrogates in Python's strings
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="nephi-") as folder:
        temporary = Path(folder, f"{_ascii(path.stem)}{_ascii(path.suffix)}")
        yield temporary
        for file in sorted(Path(folder).iterdir()):
            shutil.move(file, path if file == temporary else path.with_name(file.name))


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii").replace("?", "_")
