"""Write displacement fields to NIfTI slab by slab, without a dense field in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid, PointMap
from nephi.geometry.frames import require_perpendicular
from nephi.io.fields.conventions import INTENTS, require_representable, vector_codec
from nephi.io.files.atomic import replacing
from nephi.io.files.gzipped import compress
from nephi.io.files.input_files import NIFTI_SUFFIXES, suffix_of
from nephi.io.nifti.writer import header_bytes
from nephi.transforms import OrderedMap, displacement_slabs

FLOAT = np.dtype("<f4")
HEADER = 352  # bytes before the voxels
QUANTUM = 2.0**-10  # mm


class DisplacementWriter:
    """Write `u(x) = phi(x) - x` on the fixed image's grid to a `.nii` or `.nii.gz` file for other tools.

    Use it as a context manager: call `write` once for every slice of the last axis, in slabs of any order. The file is
    put in place when the block ends without an error. It holds float32, with qform and sform of code 1. Conventions:

    - `itk` (the default): LPS mm, shape `(X, Y, Z, 1, 3)` or `(X, Y, 1, 1, 2)`, intent 1007;
    - `slicer`: RAS mm, the same shapes, intent 1006;
    - `learn2reg`: voxels, shape `(X, Y, Z, 3)`;
    - `fsl`: scaled voxels, relative, shape `(X, Y, Z, 3)`, intent 2006.

    The last two need the grid of the `moving` image if it differs from the fixed one.

    NIfTI stores one component after the other. Slabs are therefore written into an uncompressed file beside `path`
    (12 bytes of disk per voxel), which is compressed at the end.

    Components are rounded to a multiple of `quantum` mm, or finer if voxels are smaller than 512 `quantum`. With the
    default of 1/1024 mm the error is at most 0.0005 mm and at most 1/1024 of a voxel; the compressed file is a third
    smaller than without rounding, and takes no longer to write.

    `ordered_map` may compress several blocks of the file at the same time; the file is the same.

    Raises `UsageError` for another suffix or a missing slice; `DataError` for a sheared grid (ITK rejects it), values
    that are not finite, a field that the convention cannot represent, or a file that cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        grid: Grid,
        convention: str = "itk",
        moving: Grid | None = None,
        quantum: float = QUANTUM,
        ordered_map: OrderedMap = map,
    ) -> None:
        self.path, self.grid = Path(path), grid
        require_representable(convention, path, grid, moving)
        if suffix_of(path) not in NIFTI_SUFFIXES:
            found = suffix_of(path) or "no suffix"
            raise UsageError(f"{path}: expected a displacement field to be written as .nii or .nii.gz, got {found}")
        require_perpendicular(grid, path, "a displacement field")
        self._codec = vector_codec(convention, grid, moving)
        self._intent = INTENTS[convention]
        self._extra = (1, grid.dimension) if convention in ("itk", "slicer") else (grid.dimension,)
        self._quantum = rounding_step(grid, in_voxels=convention == "learn2reg", quantum=quantum)
        self._ordered_map = ordered_map
        self._missing = np.ones(grid.shape[-1], bool)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._final = stack.enter_context(replacing(self.path))
            self._raw = self._final.with_name("uncompressed") if self._compressed else self._final
            self._file: BinaryIO = stack.enter_context(open(self._raw, "w+b"))
            self._file.write(header_bytes(self.path, self.grid, FLOAT, self._extra, intent=self._intent))
            self._stack = stack.pop_all()
        return self

    def write(self, start: int, stop: int, displacement_world: Tensor) -> None:
        """Write slices `start:stop` of the last axis: displacements `(X, [Y,] n, D)`, world mm, RAS components."""
        self.write_encoded(start, stop, self.encode(start, stop, displacement_world))

    def encode(self, start: int, stop: int, displacement_world: Tensor) -> list[bytes]:
        """Return what the file holds of such slices, one component after the other.

        Several threads may encode different slices at the same time.
        """
        require_slab(self.path, self.grid, start, stop, displacement_world)
        vectors = self._codec.encode(displacement_world.detach().cpu(), self.grid, start, stop)
        round_in_place(vectors, self._quantum)
        return [component.numpy().astype(FLOAT).tobytes(order="F") for component in vectors.unbind(-1)]

    def write_encoded(self, start: int, stop: int, components: Sequence[bytes]) -> None:
        """Write what `encode` returned for slices `start:stop`."""
        slice_size = self.grid.size // self.grid.shape[-1]
        for c, component in enumerate(components):
            self._file.seek(HEADER + FLOAT.itemsize * (c * self.grid.size + start * slice_size))
            self._file.write(component)
        self._missing[start:stop] = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack as stack:
            if error is not None:
                stack.__exit__(kind, error, trace)
                return
            if self._missing.any():
                first = int(self._missing.argmax())
                raise UsageError(f"{self.path}: expected {len(self._missing)} slices, slice {first} was not written")
            if self._compressed:
                self._file.seek(0)
                compress(self._file, self._final, self._ordered_map)
                self._raw.unlink()

    @property
    def _compressed(self) -> bool:
        return self.path.suffix.lower() == ".gz"


def require_slab(path: Path, grid: Grid, start: int, stop: int, displacement_world: Tensor) -> None:
    """Raise `UsageError` unless the displacements have the shape of slices `start:stop`, `DataError` if not finite."""
    expected = (*grid.shape[:-1], stop - start, grid.dimension)
    if tuple(displacement_world.shape) != expected or not 0 <= start < stop <= grid.shape[-1]:
        raise UsageError(
            f"{path}: expected displacements of shape {expected} for slices {start}:{stop} of {grid.shape[-1]}, "
            f"got {tuple(displacement_world.shape)}"
        )
    extremes = displacement_world.detach().aminmax()  # one pass over the data; propagates NaN
    if not all(map(math.isfinite, map(float, extremes))):
        raise DataError(f"{path}: expected finite displacements, found NaN or infinity in slices {start}:{stop}")


def round_in_place(vectors: Tensor, quantum: float) -> Tensor:
    """Round vectors to multiples of `quantum`, in place, and return them."""
    return vectors.div_(quantum).round_().mul_(quantum)


def rounding_step(grid: Grid, in_voxels: bool = False, quantum: float = QUANTUM) -> float:
    """Return the rounding step of components: `quantum` (mm), or a smaller power of two if voxels are below 512 of it.

    With `in_voxels`, the step is in voxels: the largest power of two that is no longer than that in mm.
    """
    step = min(quantum, 2.0 ** math.floor(math.log2(float(grid.spacing.min())) - 9))
    return 2.0 ** math.floor(math.log2(step / float(grid.spacing.max()))) if in_voxels else step


@torch.no_grad()
def write_displacement(
    path: str | Path, transform: PointMap, grid: Grid, convention: str = "itk", moving: Grid | None = None
) -> None:
    """Evaluate the displacement `transform(x) - x` at the voxel centres of `grid`, and write it slab by slab.

    `transform` maps world points to world points (mm, RAS); for a registration, fixed to moving points, with `grid`
    that of the fixed image. File format and errors are those of `DisplacementWriter`.
    """
    with DisplacementWriter(path, grid, convention, moving) as writer:
        for start, stop, displacement in displacement_slabs(transform, grid):
            writer.write(start, stop, displacement)
