"""Voxels of MetaImage and NRRD files: raw, compressed or written as text, in one file or several."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nephi.errors import DataError, warn
from nephi.io.files.input_files import reading
from nephi.io.meta_nrrd.inflate import DENSEST, inflated
from nephi.io.voxels import Array

NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf)", re.IGNORECASE)
CHUNK = 2**26  # bytes read at once
LONGEST = 40  # characters of a number written as text


@dataclass(frozen=True)
class VoxelData:
    """Where the voxels of an image are and how they are written.

    `files` hold equal numbers of voxels one after the other. `encoding` is `raw`, `zlib`, `gzip`, `bzip2`, `text` or
    `hex`. In each file `start` bytes, then `lines` lines are passed over, then `skip` bytes: of the file, or of the
    contents where it is compressed. `from_end` is given where the voxels are placed from the end of the file
    instead: so many bytes follow them. `packed` is the length of the compressed data as the header has it.
    """

    path: Path
    files: tuple[Path, ...]
    encoding: str = "raw"
    start: int = 0
    lines: int = 0
    skip: int = 0
    from_end: int | None = None
    packed: int | None = None

    def read(self, dtype: np.dtype[Any], count: int) -> Array:
        """Return `count` numbers of type `dtype`, one-dimensional, in the byte order they are stored in.

        Raises `DataError` naming the header when data is missing, damaged or of another length. Compressed data is
        verified by its checksum; uncompressed data by its length.
        """
        if not self.files or count % len(self.files):
            raise DataError(f"{self.path}: expected {count} voxels in equal files, found {len(self.files)} files")
        self._require_plausible(dtype, count)
        with reading(self.path, f"{count * dtype.itemsize} bytes of voxels"):
            voxels: Array = np.empty(count, dtype)
            piece = count // len(self.files)
            for index, file in enumerate(self.files):
                with open(file, "rb") as stream:
                    self._read_piece(stream, voxels[index * piece : (index + 1) * piece])
        return voxels

    def _require_plausible(self, dtype: np.dtype[Any], count: int) -> None:
        """Raise `DataError` before memory is allocated, when the files are too short for so many voxels."""
        found = sum(file.stat().st_size for file in self.files)
        densest = {"zlib": DENSEST, "gzip": DENSEST, "bzip2": 2**23, "text": dtype.itemsize, "hex": 0.5}
        if count * dtype.itemsize > max(found, 1) * densest.get(self.encoding, 1):
            raise self._incomplete(count * dtype.itemsize, found, " (compressed)" if self._compressed else "")

    @property
    def _compressed(self) -> bool:
        return self.encoding in ("zlib", "gzip", "bzip2")

    def _read_piece(self, stream: BinaryIO, target: Array) -> None:
        stream.seek(self.start)
        for _ in range(self.lines):
            if not stream.readline():
                raise DataError(f"{self.path}: expected {self.lines} lines before the voxels; the file is incomplete")
        if self._compressed:
            self._inflate(stream, target.view(np.uint8).data)
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
            warn(f"{self.path}: {surplus} bytes follow the voxels that the header announces; they were left out")
        stream.seek(begin)
        filled = 0
        while filled < len(target):
            count = stream.readinto(target[filled : filled + CHUNK])  # type: ignore[attr-defined]
            if not count:
                raise self._incomplete(len(target), filled, "")
            filled += count

    def _read_text(self, stream: BinaryIO, target: Array) -> None:
        longest = len(target) * (LONGEST + 2) + 2**12
        text = stream.read(longest + 1)
        if self.encoding == "hex":
            data = bytes.fromhex(text.decode("ascii"))
            words: list[bytes] = []
            found, expected = len(data), target.nbytes
        else:
            data, words = b"", text.split()
            found, expected = len(words), len(target)
        if found != expected or len(text) > longest:
            raise DataError(f"{self.path}: expected {expected} numbers as {self.encoding}, found {found}")
        if self.encoding == "hex":
            target[...] = np.frombuffer(data, target.dtype)
            return
        for word in words:
            if len(word) > LONGEST or not NUMBER.fullmatch(word):
                raise DataError(f"{self.path}: expected numbers as text, found {word[:LONGEST]!r} among them")
        target[...] = np.array(list(map(int if target.dtype.kind in "iu" else float, words)), target.dtype)

    def _inflate(self, stream: BinaryIO, target: memoryview) -> None:
        filled, skip = 0, self.skip
        for block in inflated(stream, self.encoding, self.packed):
            passed = min(skip, len(block))
            skip -= passed
            view = memoryview(block)[passed:]
            if filled + len(view) > len(target):
                raise DataError(
                    f"{self.path}: expected {len(target)} bytes of voxels, as sizes and type in the header make, found "
                    "more in the compressed data; header and data do not belong together"
                )
            target[filled : filled + len(view)] = view
            filled += len(view)
        if filled < len(target):
            raise self._incomplete(len(target), filled, "")

    def _incomplete(self, expected: int, found: int, kind: str) -> DataError:
        return DataError(
            f"{self.path}: expected {expected} bytes of voxels, found {found}{kind}; the file is incomplete or its "
            "header wrong, copy it again"
        )
