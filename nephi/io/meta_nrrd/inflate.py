"""Decompress zlib, gzip and bzip2 streams block by block, and verify their checksums."""

from __future__ import annotations

import bz2
from collections.abc import Iterator
from typing import Any, BinaryIO

from nephi.errors import warn

CHUNK = 2**18  # compressed bytes read at once
BLOCK = 2**22  # decompressed bytes yielded at once
MAX_RATIO = 1032  # decompressed bytes per compressed byte that zlib and gzip can reach
MAGIC = {"zlib": b"", "gzip": b"\x1f\x8b", "bzip2": b"BZh"}


def decompress(stream: BinaryIO, kind: str, size: int | None = None) -> Iterator[bytes]:
    """Decompress a stream, and yield its contents in blocks of at most 4 MiB.

    `kind` is `zlib` (in MetaImage files a zlib or a gzip stream), `gzip` or `bzip2`; the last two may have several
    members. At most `size` bytes of `stream` are read, all by default. End, checksum and length of the stream are
    verified. Other bytes than zeros behind it issue a `DataWarning`.

    Raises an error of isal or bz2, or `EOFError`, when the stream is damaged or incomplete.
    """
    source = _Source(stream, size)
    while True:
        yield from _decompress_member(source, kind)
        if kind == "zlib" or not source.starts_with(MAGIC[kind]):
            break
    surplus = source.surplus()
    if surplus:
        name = getattr(stream, "name", "compressed data")
        warn(f"{name}: {surplus} bytes after the complete compressed voxels were ignored")


def _decompress_member(source: _Source, kind: str) -> Iterator[bytes]:
    decompressor = _decompressor(kind)
    while not decompressor.eof:
        chunk: bytes = getattr(decompressor, "unconsumed_tail", b"")
        if not chunk and getattr(decompressor, "needs_input", True):
            chunk = source.read()
        block = decompressor.decompress(chunk, BLOCK)
        if block:
            yield block
        elif not chunk and not decompressor.eof:
            raise EOFError("the compressed data ends early")
    source.put_back(decompressor.unused_data)


def _decompressor(kind: str) -> Any:
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    from isal import isal_zlib

    return isal_zlib.decompressobj(wbits=47 if kind == "zlib" else 31)


class _Source:
    """Read a stream in chunks, up to a number of bytes; bytes can be put back."""

    def __init__(self, stream: BinaryIO, size: int | None) -> None:
        self._stream, self._remaining, self._pending = stream, size, b""

    def read(self) -> bytes:
        if self._pending:
            chunk, self._pending = self._pending, b""
            return chunk
        chunk = self._stream.read(CHUNK if self._remaining is None else min(CHUNK, self._remaining))
        if self._remaining is not None:
            self._remaining -= len(chunk)
        return chunk

    def put_back(self, data: bytes) -> None:
        self._pending = data + self._pending

    def starts_with(self, magic: bytes) -> bool:
        while len(self._pending) < len(magic):
            pending, self._pending = self._pending, b""
            chunk = self.read()
            self._pending = pending + chunk
            if not chunk:
                return False
        return self._pending.startswith(magic)

    def surplus(self) -> int:
        """Count the remaining bytes; return 0 if all of them are zero (padding)."""
        count, padding = 0, True
        while chunk := self.read():
            count, padding = count + len(chunk), padding and not any(chunk)
        return 0 if padding else count
