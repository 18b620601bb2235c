"""Parse level-4 MATLAB files of ITK's transforms strictly (`.mat`, the format of affine maps of ANTs)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nephi.errors import DataError
from nephi.io.files.input_files import require_file
from nephi.io.transforms.itk_linear import Vector
from nephi.io.transforms.itk_member import COMPOSITE, Member, member_type, verified_member

HEADER = 20  # bytes: type, rows, columns, has imaginary part, length of the name
PRECISIONS = {0: "f8", 1: "f4"}  # by the tens digit of the type
MAX_NAME = 120


class Matrix(NamedTuple):
    """A named column of numbers."""

    name: str
    values: Vector


def read_matlab_members(path: Path) -> list[Member]:
    """Read the transforms of a level-4 MATLAB file: for each, its parameters, named by the class, and then `fixed`.

    Raises `DataError` naming the file for any other content; for composites, whose members ITK does not name in this
    format; and unless each transform has the correct number of finite parameters.
    """
    contents = require_file(path).read_bytes()
    if contents.startswith(b"MATLAB "):
        raise DataError(
            f"{path}: expected a level-4 MATLAB file of ITK or ANTs, found a newer level (of SPM?); save the "
            "transform with ITK, or export its deformation as a field"
        )
    matrices = list(_read_matrices(path, contents))
    if not matrices or len(matrices) % 2:
        raise _invalid_contents(path, len(contents))
    members = []
    for parameters, fixed in zip(matrices[::2], matrices[1::2], strict=True):
        if fixed.name != "fixed":
            raise DataError(f"{path}: expected the fixed parameters of {parameters.name}, found {fixed.name!r}")
        kind = member_type(path, parameters.name)
        if kind.name == COMPOSITE:
            raise DataError(
                f"{path}: expected one transform, found a composite, whose members are not named in a .mat file; "
                "save it as .h5 or .tfm"
            )
        members.append(verified_member(path, kind, parameters.values, fixed.values))
    return members


def _read_matrices(path: Path, contents: bytes) -> Iterator[Matrix]:
    start = 0
    while start < len(contents):
        matrix, start = _read_matrix(path, contents, start)
        yield matrix


def _read_matrix(path: Path, contents: bytes, start: int) -> tuple[Matrix, int]:
    """Return the matrix that starts at a byte of the file, and the byte where the next one starts."""
    for order in "<>":
        if len(contents) - start < HEADER:
            break
        kind, rows, columns, imaginary, name_length = struct.unpack_from(f"{order}5i", contents, start)
        machine, _, precision, full = (kind // 1000, kind // 100 % 10, kind // 10 % 10, kind % 10)
        plausible = kind >= 0 and machine == "<>".index(order) and precision in PRECISIONS and full == 0
        if not plausible or imaginary or min(rows, columns) < 0 or not 0 < name_length <= MAX_NAME:
            continue
        dtype = np.dtype(f"{order}{PRECISIONS[precision]}")
        begin = start + HEADER + name_length
        end = begin + rows * columns * dtype.itemsize
        if end > len(contents):
            break
        name = contents[start + HEADER : begin].split(b"\0")[0].decode("latin-1")
        values: NDArray[np.floating] = np.frombuffer(contents, dtype, rows * columns, begin)
        return Matrix(name, values.astype(np.float64)), end
    raise _invalid_contents(path, len(contents))


def _invalid_contents(path: Path, size: int) -> DataError:
    return DataError(
        f"{path}: expected a level-4 MATLAB file of ITK or ANTs with parameters and centre, found {size} bytes of "
        "other contents; the file may be incomplete, or of another tool"
    )
