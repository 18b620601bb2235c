"""Read voxels of MetaImage and NRRD files: raw, compressed or as text, from one or several files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nephi.errors import DataError, warn
from nephi.images.voxels import Array
from nephi.io.files.input_files import reading
from nephi.io.meta_nrrd.inflate import MAX_RATIO, decompress

NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf)", re.IGNORECASE)
CHUNK = 2**26  # bytes per read
MAX_LENGTH = 40  # characters of a number written as text


@dataclass(frozen=True)
class VoxelData:
    """Files, position and encoding of the voxels of the image with the header `path`.

    `files` hold equal numbers of voxels, in this order. `encoding` is `raw`, `zlib`, `gzip`, `bzip2`, `text` or `hex`.
    In each file, first `start` bytes and then `lines` lines are skipped, then `skip` bytes (of the contents, if they
    are compressed). If `from_end` is given, the voxels are followed by this number of bytes instead. `compressed_size`
    is the number of compressed bytes that the header states.
    """

    path: Path
    files: tuple[Path, ...]
    encoding: str = "raw"
    start: int = 0
    lines: int = 0
    skip: int = 0
    from_end: int | None = None
    compressed_size: int | None = None

    def read(self, dtype: np.dtype[Any], count: int) -> Array:
        """Read `count` numbers of type `dtype` in their stored byte order, as an array of one axis.

        Raises `DataError` naming the header when data is missing, damaged or of another length. Compressed data is
        verified by its checksum, uncompressed data by its length.
        """
        if not self.files or count % len(self.files):
            raise DataError(f"{self.path}: expected {count} voxels in equal files, found {len(self.files)} files")
        self._require_sufficient_size(dtype, count)
        with reading(self.path, f"{count * dtype.itemsize} bytes of voxels"):
            voxels: Array = np.empty(count, dtype)
            piece = count // len(self.files)
            for index, file in enumerate(self.files):
                with open(file, "rb") as stream:
                    self._read_piece(stream, voxels[index * piece : (index + 1) * piece])
        return voxels

    def _require_sufficient_size(self, dtype: np.dtype[Any], count: int) -> None:
        """Raise `DataError` when the files are too short for `count` voxels, before memory is allocated."""
        size = sum(file.stat().st_size for file in self.files)
        ratios = {"zlib": MAX_RATIO, "gzip": MAX_RATIO, "bzip2": 2**23, "text": dtype.itemsize, "hex": 0.5}
        if count * dtype.itemsize > max(size, 1) * ratios.get(self.encoding, 1):
            raise self._incomplete(count * dtype.itemsize, size, " (compressed)" if self._compressed else "")

    @property
    def _compressed(self) -> bool:
        return self.encoding in ("zlib", "gzip", "bzip2")

    def _read_piece(self, stream: BinaryIO, target: Array) -> None:
        stream.seek(self.start)
        for _ in range(self.lines):
            if not stream.readline():
                raise DataError(f"{self.path}: expected {self.lines} lines before the voxels; the file is incomplete")
        if self._compressed:
            self._read_compressed(stream, target.view(np.uint8).data)
        elif self.encoding == "raw":
            self._read_raw(stream, target.view(np.uint8).data)
        else:
            stream.seek(self.skip, 1)
            self._read_text(stream, target)

    def _read_raw(self, stream: BinaryIO, target: memoryview) -> None:
        begin = stream.tell() + self.skip
        size = stream.seek(0, 2)
        if self.from_end is not None:
            begin = size - self.from_end - len(target)
        if begin < 0 or size - begin < len(target):
            raise self._incomplete(len(target), max(size - max(begin, 0), 0), "")
        surplus = size - begin - len(target)
        if surplus and self.from_end is None:
            warn(f"{self.path}: {surplus} bytes after the voxels of the header were ignored")
        stream.seek(begin)
        filled = 0
        while filled < len(target):
            count = stream.readinto(target[filled : filled + CHUNK])  # type: ignore[attr-defined]
            if not count:
                raise self._incomplete(len(target), filled, "")
            filled += count

    def _read_text(self, stream: BinaryIO, target: Array) -> None:
        max_size = len(target) * (MAX_LENGTH + 2) + 2**12
        text = stream.read(max_size + 1)
        if self.encoding == "hex":
            data = bytes.fromhex(text.decode("ascii"))
            words: list[bytes] = []
            found, expected = len(data), target.nbytes
        else:
            data, words = b"", text.split()
            found, expected = len(words), len(target)
        if found != expected or len(text) > max_size:
            raise DataError(f"{self.path}: expected {expected} numbers as {self.encoding}, found {found}")
        if self.encoding == "hex":
            target[...] = np.frombuffer(data, target.dtype)
            return
        for word in words:
            if len(word) > MAX_LENGTH or not NUMBER.fullmatch(word):
                raise DataError(f"{self.path}: expected numbers as text, found {word[:MAX_LENGTH]!r} among them")
        target[...] = np.array(list(map(int if target.dtype.kind in "iu" else float, words)), target.dtype)

    def _read_compressed(self, stream: BinaryIO, target: memoryview) -> None:
        filled, skip = 0, self.skip
        for block in decompress(stream, self.encoding, self.compressed_size):
            skipped = min(skip, len(block))
            skip -= skipped
            view = memoryview(block)[skipped:]
            if filled + len(view) > len(target):
                raise DataError(
                    f"{self.path}: expected {len(target)} bytes of voxels by sizes and type in the header, found more "
                    "in the compressed data; header and data do not belong together"
                )
            target[filled : filled + len(view)] = view
            filled += len(view)
        if filled < len(target):
            raise self._incomplete(len(target), filled, "")

    def _incomplete(self, expected: int, found: int, kind: str) -> DataError:
        return DataError(
            f"{self.path}: expected {expected} bytes of voxels, found {found}{kind}; the file is incomplete or its "
            "header is wrong, copy it again"
        )
