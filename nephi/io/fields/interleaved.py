"""Displacement fields as `.nrrd` and `.mha`, streamed: both store vector after vector, so slabs go straight through."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid, PointMap
from nephi.io.fields.conventions import vector_code
from nephi.io.fields.displacement_writer import FLOAT, require_slab, rounded, rounding_step
from nephi.io.files.atomic import replacing
from nephi.io.files.gzipped import open_output
from nephi.io.foreign import suffix_of
from nephi.io.frames import flip_matrix, require_perpendicular
from nephi.transforms import displacement_slabs

INTERLEAVED_SUFFIXES = (".nrrd", ".mha")


@torch.no_grad()
def write_interleaved(path: str | Path, transform: PointMap, grid: Grid) -> None:
    """Write `transform(x) - x` at the voxel centres of `grid` to a `.nrrd` or `.mha` file of float32 LPS vectors in mm.

    `transform` takes world points to world points (mm, RAS). Evaluated, rounded and compressed slab by slab; rounding
    and errors are those of `DisplacementWriter`.
    """
    path = Path(path)
    if suffix_of(path) not in INTERLEAVED_SUFFIXES:
        found = suffix_of(path) or "without suffix"
        raise UsageError(f"{path}: fields of this kind are streamed to .nrrd or .mha, not {found}")
    require_perpendicular(grid, path, "a displacement field")
    code, quantum = vector_code("itk", grid), rounding_step(grid)
    with _open_field(path, grid) as append:
        for start, stop, displacement in displacement_slabs(transform, grid):
            require_slab(path, grid, start, stop, displacement)
            vectors = rounded(code.encode(displacement.cpu(), grid, start, stop), quantum)
            order = (*reversed(range(grid.dimension)), grid.dimension)
            append(vectors.permute(*order).contiguous().numpy().astype(FLOAT, copy=False).tobytes())


@contextmanager
def _open_field(path: Path, grid: Grid) -> Iterator[Callable[[bytes], object]]:
    """Give a function that appends voxels to the file, which appears when the block ends well."""
    with replacing(path) as temporary:
        packed_path = temporary.with_name("packed")
        nrrd = suffix_of(path) == ".nrrd"
        with _gzip(packed_path) if nrrd else _zlib(packed_path) as append:
            yield append
        header = _nrrd_header(grid) if nrrd else _meta_header(grid, packed_path.stat().st_size)
        with open(temporary, "wb") as file, open(packed_path, "rb") as packed:
            file.write(header.encode("ascii"))
            shutil.copyfileobj(packed, file, 2**20)
        packed_path.unlink()


@contextmanager
def _gzip(path: Path) -> Iterator[Callable[[bytes], object]]:
    with open_output(path.with_suffix(".gz")) as stream:
        yield stream.write
    path.with_suffix(".gz").rename(path)


@contextmanager
def _zlib(path: Path) -> Iterator[Callable[[bytes], object]]:
    from isal import isal_zlib

    packer = isal_zlib.compressobj(level=3, wbits=zlib.MAX_WBITS)
    with open(path, "wb") as file:
        yield _packing(file, packer.compress)
        file.write(packer.flush())


def _packing(file: BinaryIO, compress: Callable[[bytes], bytes]) -> Callable[[bytes], object]:
    return lambda block: file.write(compress(block))


def _lps(grid: Grid) -> tuple[Tensor, Tensor]:
    """Return the steps along the voxel axes (columns, mm) and the first voxel's centre, in LPS."""
    lps = flip_matrix(grid.dimension) @ grid.affine
    return lps[:-1, :-1], lps[:-1, -1]


def _nrrd_header(grid: Grid) -> str:
    d = grid.dimension
    steps, origin = _lps(grid)
    lines = [
        "NRRD0004",
        "type: float",
        f"dimension: {d + 1}",
        "space: left-posterior-superior" if d == 3 else "space dimension: 2",
        "sizes: " + " ".join(map(str, (d, *grid.shape))),
        "space directions: none " + " ".join(_tuple(step) for step in steps.T),
        "kinds: vector" + " domain" * d,
        "endian: little",
        "encoding: gzip",
        f"space origin: {_tuple(origin)}",
    ]
    return "\n".join(lines) + "\n\n"


def _meta_header(grid: Grid, size: int) -> str:
    d = grid.dimension
    steps, origin = _lps(grid)
    lines = [
        "ObjectType = Image",
        f"NDims = {d}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {size}",
        f"TransformMatrix = {_numbers((steps / grid.spacing).T)}",
        f"Offset = {_numbers(origin)}",
        "CenterOfRotation = " + " ".join(["0"] * d),
        f"ElementSpacing = {_numbers(grid.spacing)}",
        "DimSize = " + " ".join(map(str, grid.shape)),
        f"ElementNumberOfChannels = {d}",
        "ElementType = MET_FLOAT",
        "ElementDataFile = LOCAL",
    ]
    return "\n".join(lines) + "\n"


def _numbers(values: Tensor) -> str:
    return " ".join(map(repr, (values.reshape(-1) + 0.0).tolist()))  # + 0.0: no negative zeros


def _tuple(values: Tensor) -> str:
    return "(" + _numbers(values).replace(" ", ",") + ")"
