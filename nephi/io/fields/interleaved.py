"""Write displacement fields to `.nrrd` and `.mha` slab by slab: both formats store vector after vector."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid, PointMap
from nephi.geometry.frames import flip_matrix, require_perpendicular
from nephi.io.fields.conventions import vector_codec
from nephi.io.fields.displacement_writer import FLOAT, require_slab, round_in_place, rounding_step
from nephi.io.files.atomic import replacing
from nephi.io.files.gzipped import open_output
from nephi.io.files.input_files import suffix_of
from nephi.transforms import displacement_slabs

INTERLEAVED_SUFFIXES = (".nrrd", ".mha")


@torch.no_grad()
def write_interleaved(path: str | Path, transform: PointMap, grid: Grid) -> None:
    """Write `transform(x) - x` at the voxel centres of `grid` to a `.nrrd` or `.mha` file of float32 LPS vectors in mm.

    `transform` maps world points to world points (mm, RAS). It is evaluated, rounded and compressed slab by slab, with
    the rounding and the errors of `DisplacementWriter`.
    """
    path = Path(path)
    if suffix_of(path) not in INTERLEAVED_SUFFIXES:
        found = suffix_of(path) or "no suffix"
        raise UsageError(f"{path}: expected a displacement field to be written as .nrrd or .mha, got {found}")
    require_perpendicular(grid, path, "a displacement field")
    codec, quantum = vector_codec("itk", grid), rounding_step(grid)
    with _open_field(path, grid) as append:
        for start, stop, displacement in displacement_slabs(transform, grid):
            require_slab(path, grid, start, stop, displacement)
            vectors = round_in_place(codec.encode(displacement.cpu(), grid, start, stop), quantum)
            order = (*reversed(range(grid.dimension)), grid.dimension)
            append(vectors.permute(*order).contiguous().numpy().astype(FLOAT, copy=False).tobytes())


@contextmanager
def _open_field(path: Path, grid: Grid) -> Iterator[Callable[[bytes], object]]:
    """Yield a function that appends voxels; the file is put in place when the block ends without an error."""
    with replacing(path) as temporary:
        voxel_path = temporary.with_name("compressed")
        nrrd = suffix_of(path) == ".nrrd"
        with _open_gzip(voxel_path) if nrrd else _open_zlib(voxel_path) as append:
            yield append
        header = _nrrd_header(grid) if nrrd else _meta_header(grid, voxel_path.stat().st_size)
        with open(temporary, "wb") as file, open(voxel_path, "rb") as voxels:
            file.write(header.encode("ascii"))
            shutil.copyfileobj(voxels, file, 2**20)
        voxel_path.unlink()


@contextmanager
def _open_gzip(path: Path) -> Iterator[Callable[[bytes], object]]:
    with open_output(path.with_suffix(".gz")) as stream:
        yield stream.write
    path.with_suffix(".gz").rename(path)


@contextmanager
def _open_zlib(path: Path) -> Iterator[Callable[[bytes], object]]:
    from isal import isal_zlib

    compressor = isal_zlib.compressobj(level=3, wbits=zlib.MAX_WBITS)
    with open(path, "wb") as file:
        yield lambda block: file.write(compressor.compress(block))
        file.write(compressor.flush())


def _lps_geometry(grid: Grid) -> tuple[Tensor, Tensor]:
    """Return the steps between neighbouring voxels `(D, D)`, an axis a column, and the first voxel's centre, in LPS."""
    lps = flip_matrix(grid.dimension) @ grid.affine
    return lps[:-1, :-1], lps[:-1, -1]


def _nrrd_header(grid: Grid) -> str:
    d = grid.dimension
    steps, origin = _lps_geometry(grid)
    lines = [
        "NRRD0004",
        "type: float",
        f"dimension: {d + 1}",
        "space: left-posterior-superior" if d == 3 else "space dimension: 2",
        "sizes: " + " ".join(map(str, (d, *grid.shape))),
        "space directions: none " + " ".join(_format_vector(step) for step in steps.T),
        "kinds: vector" + " domain" * d,
        "endian: little",
        "encoding: gzip",
        f"space origin: {_format_vector(origin)}",
    ]
    return "\n".join(lines) + "\n\n"


def _meta_header(grid: Grid, size: int) -> str:
    d = grid.dimension
    steps, origin = _lps_geometry(grid)
    lines = [
        "ObjectType = Image",
        f"NDims = {d}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {size}",
        f"TransformMatrix = {_format_numbers((steps / grid.spacing).T)}",
        f"Offset = {_format_numbers(origin)}",
        "CenterOfRotation = " + " ".join(["0"] * d),
        f"ElementSpacing = {_format_numbers(grid.spacing)}",
        "DimSize = " + " ".join(map(str, grid.shape)),
        f"ElementNumberOfChannels = {d}",
        "ElementType = MET_FLOAT",
        "ElementDataFile = LOCAL",
    ]
    return "\n".join(lines) + "\n"


def _format_numbers(values: Tensor) -> str:
    return " ".join(map(repr, (values.reshape(-1) + 0.0).tolist()))  # + 0.0: no negative zeros


def _format_vector(values: Tensor) -> str:
    return "(" + _format_numbers(values).replace(" ", ",") + ")"
