"""Files that may be compressed, told by their suffix."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

# Level 1 of zlib on data/lung_ct: 68.0 % of the size in 0.08 s; level 4: 67.6 % in 0.09 s; level 6: 66.8 % in 0.19 s.
# On displacement fields: 63 % in 0.22 s, 63 % in 0.40 s, 61 % in 1.5 s.
LEVEL = 1


@contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for writing, through gzip when it ends in `.gz`: no time and no name, so equal data, equal bytes."""
    with open(path, "wb") as raw:
        if path.suffix.lower() != ".gz":
            yield raw
            return
        with gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=raw, mtime=0) as packed:
            yield cast(BinaryIO, packed)


def open_input(path: Path) -> BinaryIO:
    """Open `path` for reading, through gzip when it ends in `.gz`."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else open(path, "rb")
