"""Whether transform files are whole: ITK reads some cut ones without complaint, and some foreign frames as its own."""

from __future__ import annotations

import struct
from pathlib import Path

from nephi.errors import DataError
from nephi.io.foreign import reading

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
HDF5_END = {0: 40, 1: 44, 2: 28, 3: 28}  # where the superblock of each version, with 8-byte offsets, says the file ends

MATLAB_WIDTHS = {0: 8, 1: 4, 2: 4, 3: 2, 4: 2, 5: 1}  # bytes a number, by the tens digit of the matrix type


def require_complete_text(path: Path, expected: list[tuple[int, int]]) -> None:
    """Raise `DataError` unless an ITK text file holds the numbers its transforms have.

    `expected` lists (parameters, fixed parameters) of each transform. ITK takes absent numbers for the identity's.
    """
    with reading(path, "a transform"):
        lines = path.read_text(encoding="utf-8").splitlines()
    for label, counts in (("Parameters:", [n for n, _ in expected]), ("FixedParameters:", [n for _, n in expected])):
        found = [len(line.split()) - 1 for line in lines if line.startswith(label)]
        found += [0] * (len(counts) - len(found))
        if any(f < n for f, n in zip(found, counts, strict=False)):
            raise DataError(
                f"{path}: expected {sum(counts)} numbers in {label.rstrip(':')}, found {sum(found)}; "
                "the file is incomplete, copy it again"
            )


def require_complete_hdf5(path: Path) -> None:
    """Raise `DataError` unless the file is HDF5 and as long as it says (HDF5 itself would print to the terminal)."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(64)
    if not start.startswith(HDF5_SIGNATURE):
        raise DataError(f"{path}: expected an HDF5 file, found other contents; was it saved with another suffix?")
    place = HDF5_END.get(start[8]) if len(start) == 64 else None
    expected = int.from_bytes(start[place : place + 8], "little") if place else 64
    if size < expected:
        raise DataError(
            f"{path}: expected at least {expected} bytes, found {size}; the file is incomplete, copy it again"
        )


def require_complete_matlab(path: Path) -> None:
    """Raise `DataError` unless a level-4 MATLAB file (ITK's and ANTs' `.mat`) ends where its last matrix does.

    ITK takes a file cut inside of the second matrix, the centre, for one with the centre 0.
    """
    size, matrices, end = path.stat().st_size, 0, 0
    with open(path, "rb") as file:
        while end < size:
            file.seek(end)
            matrices, end = matrices + 1, end + _matlab_matrix_size(file.read(20))
    if end != size or matrices < 2:
        raise DataError(
            f"{path}: expected a level-4 MATLAB file with parameters and centre, as ITK and ANTs write it, found "
            f"{size} bytes that are none; it may be incomplete, or of another tool"
        )


def _matlab_matrix_size(header: bytes) -> int:
    """Return the bytes of one matrix with its header, or more than any file has when the header is none."""
    for order in "<>":
        if len(header) == 20:
            kind, rows, columns, imaginary, name = struct.unpack(f"{order}5i", header)
            width = MATLAB_WIDTHS.get(kind // 10 % 10)
            if 0 <= kind < 5000 and width and min(rows, columns, name) >= 0:
                size: int = 20 + name + rows * columns * width * (2 if imaginary else 1)
                return size
    return 2**63


def require_itk_minc(path: Path) -> None:
    """Raise `DataError` unless ITK wrote the `.xfm`: ITK keeps LPS in it, MINC's tools RAS, and nothing else tells."""
    with open(path, "rb") as file:
        start = file.read(4096)
    if not start.startswith(b"MNI Transform File"):
        raise DataError(f"{path}: expected a MINC transform file, found other contents")
    if b"ITK-XFM" not in start:
        raise DataError(
            f"{path}: expected an .xfm written by ITK, found one of another tool, whose frame cannot be told; "
            "save it as .tfm or .mat"
        )
