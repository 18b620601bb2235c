"""Decompression with checksums: zlib, gzip and bzip2 streams, block by block."""

from __future__ import annotations

import bz2
from collections.abc import Iterator
from typing import Any, BinaryIO

from nephi.errors import warn

CHUNK = 2**18  # compressed bytes read at once
BLOCK = 2**22  # decompressed bytes yielded at once
DENSEST = 1032  # bytes that one byte of a zlib or gzip stream can stand for at most
MAGIC = {"zlib": b"", "gzip": b"\x1f\x8b", "bzip2": b"BZh"}


def inflated(stream: BinaryIO, kind: str, size: int | None = None) -> Iterator[bytes]:
    """Yield the contents of a compressed stream in blocks of at most 4 MiB.

    `kind` is `zlib` (a zlib or a gzip stream, as MetaImage has it), `gzip` or `bzip2`, the last two of one member or
    several. At most `size` bytes of `stream` are read, all if not given. The stream is verified: its end, checksum
    and length have to be those that were written. Bytes behind it, other than zeros, are a `DataWarning`.

    Raises an error of isal or bz2, or `EOFError`, when the stream is damaged or ends early.
    """
    source = _Source(stream, size)
    while True:
        yield from _member(source, kind)
        if kind == "zlib" or not source.starts_with(MAGIC[kind]):
            break
    surplus = source.surplus()
    if surplus:
        name = getattr(stream, "name", "compressed data")
        warn(f"{name}: {surplus} bytes follow the compressed voxels, which are whole; they were left out")


def _member(source: _Source, kind: str) -> Iterator[bytes]:
    engine = _engine(kind)
    while not engine.eof:
        given: bytes = getattr(engine, "unconsumed_tail", b"")
        if not given and getattr(engine, "needs_input", True):
            given = source.read()
        block = engine.decompress(given, BLOCK)
        if block:
            yield block
        elif not given and not engine.eof:
            raise EOFError("the compressed data ends early")
    source.put_back(engine.unused_data)


def _engine(kind: str) -> Any:
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    from isal import isal_zlib

    return isal_zlib.decompressobj(wbits=47 if kind == "zlib" else 31)


class _Source:
    """A stream that is read in chunks, up to a number of bytes, with bytes that can be put back."""

    def __init__(self, stream: BinaryIO, size: int | None) -> None:
        self._stream, self._left, self._back = stream, size, b""

    def read(self) -> bytes:
        if self._back:
            chunk, self._back = self._back, b""
            return chunk
        chunk = self._stream.read(CHUNK if self._left is None else min(CHUNK, self._left))
        if self._left is not None:
            self._left -= len(chunk)
        return chunk

    def put_back(self, data: bytes) -> None:
        self._back = data + self._back

    def starts_with(self, magic: bytes) -> bool:
        while len(self._back) < len(magic):
            back, self._back = self._back, b""
            more = self.read()
            self._back = back + more
            if not more:
                return False
        return self._back.startswith(magic)

    def surplus(self) -> int:
        """Return how many bytes are left, 0 when all of them are zero (padding)."""
        count, padding = 0, True
        while chunk := self.read():
            count, padding = count + len(chunk), padding and not any(chunk)
        return 0 if padding else count
