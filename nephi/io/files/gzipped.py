"""Files that may be compressed, and pipes: their bytes, by what they hold, whatever they are called."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from nephi.errors import DataError, warn
from nephi.io.foreign import is_pipe, require_file

# On a displacement field of a head (78 MB) ISA-L's levels 0 to 3 give 58, 47, 46 and 45 MB in 0.4, 0.4, 0.4 and 0.5 s;
# on one of a chest (28 MB) level 1 of zlib takes four times as long.
LEVEL = 2

GZIP_MAGIC = b"\x1f\x8b"
NIFTI_STARTS = tuple(length.to_bytes(4, order) for length in (348, 540) for order in ("little", "big"))
LARGEST_RATIO = 1032  # of deflate: a byte stands for at most so many
PATIENCE = 10.0  # seconds until a program has to open a pipe for writing
LONG_PATIENCE = 600.0  # seconds until the first byte has to come from a program that has opened it: it may compute


@dataclass(frozen=True, eq=False)
class Content:
    """Bytes of a file, decompressed where they are compressed; of a pipe, `held` in memory (it is read only once)."""

    path: Path
    packed: bool
    held: bytes | None = None

    @property
    def capacity(self) -> int:
        """Largest number of bytes that can come out: the size of the file; of a compressed one, what deflate allows."""
        size = self.path.stat().st_size if self.held is None else len(self.held)
        return size * LARGEST_RATIO if self.packed else size

    def warn_of_suffix(self) -> None:
        """Warn where the suffix says that a file is compressed and it is not, or the reverse."""
        if self.held is None and self.path.suffix and self.packed != (self.path.suffix.lower() in (".gz", ".mgz")):
            found, expected = (
                ("a compressed", "an uncompressed") if self.packed else ("an uncompressed", "a compressed")
            )
            warn(
                f"{self.path}: expected {expected} file by its suffix, found {found} one (gzip); it is read as what it "
                "is, but other tools may refuse it: rename it"
            )

    def open(self) -> BinaryIO:
        """Open the bytes for reading, from their start."""
        if self.packed:
            from isal import igzip

            return cast(BinaryIO, igzip.open(self.path if self.held is None else io.BytesIO(self.held), "rb"))
        return open(self.path, "rb") if self.held is None else io.BytesIO(self.held)


def content_of(path: str | Path) -> Content:
    """Return the bytes of a file or pipe; compression is recognised by its first two bytes.

    Raises `DataError` when the file is missing, empty, a folder or a device.
    """
    path = Path(path)
    held = _read_pipe(path) if is_pipe(path) else None
    if held is None:
        require_file(path)
    start = held[:2] if held is not None else _first_bytes(path)
    return Content(path, start == GZIP_MAGIC, held)


def _first_bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(len(GZIP_MAGIC))
    except OSError as error:
        raise DataError(
            f"{path}: expected a file that can be read, found one that cannot ({error.strerror})"
        ) from error


def _read_pipe(path: Path) -> bytes:
    """Return all bytes that come through a pipe.

    Raises `DataError` when nobody writes within `PATIENCE` seconds, or nothing comes from a writer in `LONG_PATIENCE`.
    """
    # Opened without waiting: a named pipe that nobody writes to would block for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as pipe:
        begun, patience = time.monotonic(), PATIENCE
        while not (start := pipe.read(2**16)):
            patience = LONG_PATIENCE if start is None else PATIENCE  # None: open for writing, nothing written yet
            if time.monotonic() - begun > patience:
                raise DataError(
                    f"{path}: expected an image through this pipe, nothing came within {patience:g} seconds"
                )
            time.sleep(0.02)
        if not start.startswith((GZIP_MAGIC, *NIFTI_STARTS)):  # it may never end
            raise DataError(
                f"{path}: expected NIfTI through this pipe, gzipped or not, found other contents; save them to a file, "
                "and give that"
            )
        os.set_blocking(descriptor, True)
        return start + pipe.read()


def is_unnamed(path: Path) -> bool:
    """Return whether the name of a file gives no format because it has no suffix: a pipe (`<(...)`), `/dev/stdin`."""
    return not path.suffix and (is_pipe(path) or path.parts[:2] in (("/", "dev"), ("/", "proc")))


@contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for writing, through gzip when it ends in `.gz`: no time and no name, so equal data, equal bytes."""
    with open(path, "wb") as raw:
        if path.suffix.lower() != ".gz":
            yield raw
            return
        from isal import igzip

        with igzip.IGzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=raw, mtime=0) as packed:
            yield cast(BinaryIO, packed)
