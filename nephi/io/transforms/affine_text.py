"""Read and write affine maps as a matrix in text, as do FLIRT, greedy (and c3d) and NiftyReg.

The three formats are indistinguishable. greedy and NiftyReg write the map from fixed to moving points in RAS mm; FLIRT
writes the map from moving to fixed points in FSL's scaled voxels, which depend on both images.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.io.fields.conventions import FieldConvention, world_to_tool
from nephi.io.files.atomic import write_text
from nephi.io.files.input_files import prefix_errors, require_file
from nephi.io.transforms.itk_text import parse_numbers
from nephi.transforms import AffineTransform

MATRIX_CONVENTIONS = ("fsl", "greedy", "niftyreg")
NUMBER_LIKE = re.compile(r"[+-]?(nan|inf(inity)?)|[^\s()#:]*[0-9][^\s()#:]*", re.IGNORECASE)
MAX_SIZE = 2**14  # bytes
ROUNDING = 1e-6  # tolerance of the last row, for tools that compute in float32


def is_matrix_text(path: Path) -> bool:
    """Return whether a file starts with three or four numbers in a line, even damaged ones (`0,98`, `O.98`, `nan`)."""
    with open(require_file(path), "rb") as file:
        start = file.read(MAX_SIZE).decode("utf-8-sig", errors="replace").lstrip()
    words = start.splitlines()[0].split() if start else []
    return len(words) in (3, 4) and all(NUMBER_LIKE.fullmatch(word) for word in words)


def read_matrix_text(path: Path, convention: FieldConvention | None) -> AffineTransform:
    """Read a 4x4 matrix, or 3x3 in 2-D, as a map from fixed to moving points (world mm, RAS).

    `convention` states the tool, which the file does not: `greedy`, `niftyreg`, or `fsl` with the grids of both images.

    Raises `DataError` naming the file without such a convention, when the file is not a finite homogeneous matrix, and
    for `fsl` when the images are not 3-D; `UsageError` for `fsl` without both images.
    """
    if convention is None or convention.name not in MATRIX_CONVENTIONS:
        raise DataError(
            f"{path}: expected a transform that states its convention, found a matrix in text, which FLIRT, greedy and "
            "NiftyReg write with different meanings; give --fsl-fixed and --fsl-moving for FLIRT, "
            "--transform-format greedy (c3d's, too) or niftyreg for the others; nephi export converts it for --initial"
        )
    matrix = _read_matrix(path)
    if convention.name != "fsl":
        with prefix_errors(path):
            return AffineTransform(matrix)
    to_fixed, to_moving = _scaled_voxels(path, convention, len(matrix) - 1)
    with prefix_errors(path):
        flirt = AffineTransform(matrix).inverse().matrix
        return AffineTransform(torch.linalg.inv(to_moving) @ flirt @ to_fixed)


def write_matrix_text(path: str | Path, affine: AffineTransform, convention: FieldConvention) -> None:
    """Write an affine map (fixed to moving points, world mm, RAS) as a matrix that `read_matrix_text` reads.

    Raises `UsageError` for a convention without such files, and for `fsl` without both images; `DataError` for `fsl` in
    2-D, or when the file cannot be written.
    """
    if convention.name not in MATRIX_CONVENTIONS:
        raise UsageError(f"convention: expected one of {', '.join(MATRIX_CONVENTIONS)}, got {convention.name}")
    matrix = affine.matrix
    if convention.name == "fsl":
        to_fixed, to_moving = _scaled_voxels(Path(path), convention, affine.dimension)
        matrix = torch.linalg.inv(to_moving @ matrix @ torch.linalg.inv(to_fixed))
    rows = [" ".join(map(repr, row)) for row in matrix.tolist()]
    write_text(path, "\n".join(rows) + "\n")


def _scaled_voxels(path: Path, convention: FieldConvention, dimension: int) -> tuple[Tensor, Tensor]:
    """Return the matrices from world mm to FSL's scaled voxels of the fixed and of the moving image."""
    fixed, moving = convention.fixed, convention.moving
    if fixed is None or moving is None:
        raise UsageError(
            f"{path}: expected both images for a matrix of FLIRT; give --fsl-fixed (-ref) and --fsl-moving (-in)"
        )
    if {fixed.dimension, moving.dimension, dimension} != {3}:
        raise DataError(f"{path}: expected a 4x4 matrix and 3-D images for FLIRT, found other dimensions")
    return world_to_tool("fsl", fixed), world_to_tool("fsl", moving)


def _read_matrix(path: Path) -> Tensor:
    """Read the homogeneous `(D + 1, D + 1)` matrix of a file, float64."""
    if path.stat().st_size > MAX_SIZE:
        raise DataError(f"{path}: expected a 4x4 matrix, found {path.stat().st_size} bytes")
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    rows = [parse_numbers(f"{path}: line {n}", "the matrix", line).tolist() for n, line in enumerate(lines, start=1)]
    rows = [row for row in rows if row]
    size = len(rows)
    if size not in (3, 4) or any(len(row) != size for row in rows):
        raise DataError(
            f"{path}: expected 4 rows of 4 numbers, found rows of {', '.join(str(len(r)) for r in rows[:9])}"
        )
    last = [0.0] * (size - 1) + [1.0]
    if max(abs(a - b) for a, b in zip(rows[-1], last, strict=True)) > ROUNDING:
        raise DataError(f"{path}: expected a last row of zeros and a one, found {rows[-1]}")
    return torch.tensor([*rows[:-1], last], dtype=torch.float64)
