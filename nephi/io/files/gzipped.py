"""Contents of files and pipes, decompressed if their first bytes are those of gzip, whatever their suffix."""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO, cast

from nephi.errors import DataError, warn
from nephi.io.files.input_files import is_pipe, require_file
from nephi.transforms import OrderedMap

# ISA-L's levels 0 to 3 compress a displacement field of a head (78 MB) to 58, 47, 46 and 45 MB in 0.4, 0.4, 0.4 and
# 0.5 s; on that of a chest (28 MB) level 1 of zlib takes four times as long.
LEVEL = 2

GZIP_MAGIC = b"\x1f\x8b"
GZIP_HEADER = GZIP_MAGIC + bytes([8, 0, 0, 0, 0, 0, 0, 255])  # deflate; no time, no name, an unknown system
WINDOW_BITS = 15
BLOCK = 2**20  # bytes
NIFTI_STARTS = tuple(length.to_bytes(4, order) for length in (348, 540) for order in ("little", "big"))
MAX_RATIO = 1032  # decompressed bytes per compressed byte that deflate can reach
OPEN_TIMEOUT = 10.0  # seconds to wait until a program opens the pipe for writing
DATA_TIMEOUT = 600.0  # seconds to wait for the first byte from a program that has opened it: it may compute first


@dataclass(frozen=True, eq=False)
class Content:
    """Contents of a file, decompressed if `compressed`; the bytes of a pipe, which is read once, are in `data`."""

    path: Path
    compressed: bool
    data: bytes | None = None

    @property
    def capacity(self) -> int:
        """Upper limit of the number of bytes: the size of the file; if compressed, the most that deflate allows."""
        size = self.path.stat().st_size if self.data is None else len(self.data)
        return size * MAX_RATIO if self.compressed else size

    def warn_of_suffix(self) -> None:
        """Warn if the suffix states compression and the file is not compressed, or the reverse."""
        if self.data is None and self.path.suffix and self.compressed != (self.path.suffix.lower() in (".gz", ".mgz")):
            kinds = ("an uncompressed", "a compressed (gzip)")
            warn(
                f"{self.path}: expected {kinds[not self.compressed]} file by its suffix, found "
                f"{kinds[self.compressed]} one; nephi reads it, but other tools may refuse it: rename it"
            )

    def open(self) -> BinaryIO:
        """Open the contents for reading, from the start."""
        if self.compressed:
            from isal import igzip

            return cast(BinaryIO, igzip.open(self.path if self.data is None else io.BytesIO(self.data), "rb"))
        return open(self.path, "rb") if self.data is None else io.BytesIO(self.data)


def content_of(path: str | Path) -> Content:
    """Return the contents of a file or pipe; compression is detected by the first two bytes.

    Raises `DataError` when the file is missing, empty, a folder or a device.
    """
    path = Path(path)
    data = _read_pipe(path) if is_pipe(path) else None
    if data is None:
        require_file(path)
    start = data[:2] if data is not None else _first_bytes(path)
    return Content(path, start == GZIP_MAGIC, data)


def _first_bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(len(GZIP_MAGIC))
    except OSError as error:
        raise DataError(
            f"{path}: expected a readable file, found one that cannot be read ({error.strerror})"
        ) from error


def _read_pipe(path: Path) -> bytes:
    """Read all bytes from a pipe.

    Raises `DataError` when no program opens it for writing within `OPEN_TIMEOUT` seconds, or the first byte does not
    arrive within `DATA_TIMEOUT`.
    """
    # Opened without blocking: opening a named pipe that no program writes to would block for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as pipe:
        start_time, timeout = time.monotonic(), OPEN_TIMEOUT
        while not (start := pipe.read(2**16)):
            timeout = OPEN_TIMEOUT if start is not None else DATA_TIMEOUT  # None: opened, nothing written yet
            if time.monotonic() - start_time > timeout:
                raise DataError(
                    f"{path}: expected an image from this pipe, received nothing within {timeout:g} seconds"
                )
            time.sleep(0.02)
        if not start.startswith((GZIP_MAGIC, *NIFTI_STARTS)):  # other data may never end
            raise DataError(
                f"{path}: expected NIfTI from this pipe, gzipped or not, found other contents; save them to a file, "
                "and use that"
            )
        os.set_blocking(descriptor, True)
        return start + pipe.read()


def is_stream(path: Path) -> bool:
    """Return whether a path is a pipe (`<(...)`) or device (`/dev/stdin`) without a suffix that names a format."""
    return not path.suffix and (is_pipe(path) or path.parts[:2] in (("/", "dev"), ("/", "proc")))


@contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for writing, through gzip if it ends in `.gz`; without time and name: equal data give equal bytes."""
    with open(path, "wb") as raw:
        if path.suffix.lower() != ".gz":
            yield raw
            return
        from isal import igzip

        with igzip.IGzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=raw, mtime=0) as compressed:
            yield cast(BinaryIO, compressed)


def compress(source: BinaryIO, path: Path, ordered_map: OrderedMap = map) -> None:
    """Write what remains of `source` to `path`, as one member of gzip without time and name.

    Blocks of `BLOCK` bytes are compressed independently but for the 32 KB before them, which they refer to, and joined
    as pigz does: each ends at a whole byte. So the file does not depend on how many `ordered_map` compresses at once.
    """
    from isal import isal_zlib

    def deflate(blocks: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        before, data = blocks
        compressor = isal_zlib.compressobj(LEVEL, wbits=-WINDOW_BITS, zdict=before[-(2**WINDOW_BITS) :])
        return data, compressor.compress(data) + compressor.flush(isal_zlib.Z_SYNC_FLUSH)

    checksum, size = 0, 0
    with open(path, "wb") as raw:
        raw.write(GZIP_HEADER)
        blocks = chain([b""], iter(lambda: source.read(BLOCK), b""))
        for data, compressed in ordered_map(deflate, pairwise(blocks)):
            raw.write(compressed)
            checksum, size = isal_zlib.crc32(data, checksum), size + len(data)
        raw.write(isal_zlib.compress(b"", wbits=-WINDOW_BITS) + struct.pack("<II", checksum, size % 2**32))
