"""Paths for libraries in C++ that end the process for a name that is not UTF-8 (SimpleITK aborts)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nephi.documents import is_unicode


@contextmanager
def readable_path(path: Path) -> Iterator[Path]:
    """Yield a path in UTF-8 that leads to the file `path`: itself, or for the time of the block a link to it."""
    if is_unicode(str(path)):  # odd bytes are surrogates in Python's strings
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="nephi-") as folder:
        link = Path(folder, f"file{_ascii(path.suffix)}")
        link.symlink_to(path.absolute())
        yield link


@contextmanager
def writable_path(path: Path) -> Iterator[Path]:
    """Yield a path in UTF-8 to write to: itself, or one whose files are moved when the block ends well.

    Second files (the `.raw` of a `.mhd`) keep the name that the first one has for them.
    """
    if is_unicode(str(path)):  # odd bytes are surrogates in Python's strings
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="nephi-") as folder:
        stand_in = Path(folder, f"{_ascii(path.stem)}{_ascii(path.suffix)}")
        yield stand_in
        for file in sorted(Path(folder).iterdir()):
            shutil.move(file, path if file == stand_in else path.with_name(file.name))


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii").replace("?", "_")
