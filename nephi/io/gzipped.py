"""Files that may be compressed, told by their suffix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

# On a displacement field of a head (78 MB) ISA-L's levels 0 to 3 give 58, 47, 46 and 45 MB in 0.4, 0.4, 0.4 and 0.5 s;
# on one of a chest (28 MB) level 1 of zlib takes four times as long.
LEVEL = 2


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


def open_input(path: Path) -> BinaryIO:
    """Open `path` for reading, through gzip when it ends in `.gz`."""
    if path.suffix.lower() != ".gz":
        return open(path, "rb")
    from isal import igzip

    return cast(BinaryIO, igzip.open(path, "rb"))
