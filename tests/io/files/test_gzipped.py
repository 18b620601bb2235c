"""Test that files compressed block by block are one member of gzip that other readers read."""

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
import pytest

from nephi.io.files import gzipped
from nephi.kernels import kernel_threads
from nephi.ordered_map import map_ordered


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 70_000])
def test_any_reader_decompresses_the_file(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzipped, "BLOCK", 1000)
    path, numbers = tmp_path / "field.gz", np.random.default_rng(0).integers(0, 40, size)
    data = numbers.astype(np.uint8).tobytes()
    gzipped.compress(io.BytesIO(b"header" + data), path)
    assert gzip.decompress(path.read_bytes()) == b"header" + data
    member = zlib.decompressobj(wbits=31)
    assert member.decompress(path.read_bytes()) == b"header" + data
    assert member.eof and not member.unused_data  # a single member: some readers stop after the first
    with gzipped.content_of(path).open() as stream:
        assert stream.read() == b"header" + data


def test_blocks_refer_to_the_block_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random bytes that repeat compress to little more than one copy."""
    monkeypatch.setattr(gzipped, "BLOCK", 20_000)
    block = np.random.default_rng(0).integers(0, 256, 20_000).astype(np.uint8).tobytes()
    gzipped.compress(io.BytesIO(10 * block), tmp_path / "field.gz")
    assert (tmp_path / "field.gz").stat().st_size < 2 * len(block)


def test_the_file_is_the_same_with_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzipped, "BLOCK", 1000)
    data = np.random.default_rng(0).integers(0, 40, 30_500).astype(np.uint8).tobytes()
    for count in (1, 3):
        with kernel_threads(count):
            gzipped.compress(io.BytesIO(data), tmp_path / f"{count}.gz", map_ordered)
    assert (tmp_path / "1.gz").read_bytes() == (tmp_path / "3.gz").read_bytes()
