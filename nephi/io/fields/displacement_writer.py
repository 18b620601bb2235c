"""Writing displacement fields slab by slab, so that no dense field is ever in memory."""

from __future__ import annotations

import math
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid, PointMap
from nephi.io.fields.conventions import INTENTS, require_possible, vector_code
from nephi.io.files.atomic import replacing
from nephi.io.files.gzipped import open_output
from nephi.io.foreign import NIFTI_SUFFIXES, suffix_of
from nephi.io.frames import require_perpendicular
from nephi.io.nifti.header import header_bytes
from nephi.transforms import displacement_slabs

FLOAT = np.dtype("<f4")
HEADER = 352  # bytes in front of the voxels
QUANTUM = 2.0**-10  # mm


class DisplacementWriter:
    """Write `u(x) = phi(x) - x` on the fixed image's grid to a `.nii` or `.nii.gz` file that other tools read.

    Used as a context manager: `write` slabs in any order, every slice of the last axis once. The file appears when
    the block ends well; it holds float32, qform and sform with code 1. With the `convention` `itk` (the default) that
    is LPS mm of shape `(X, Y, Z, 1, 3)` or `(X, Y, 1, 1, 2)`, intent 1007; `slicer` differs in the frame, RAS, and the
    intent, 1006; `learn2reg` is voxels of shape `(X, Y, Z, 3)`; `fsl` scaled voxels, relative, of that shape, intent
    2006. The last two need the grid of the `moving` image, where it is not the fixed one.

    NIfTI stores one component after the other, so slabs go to their places in an uncompressed file beside `path`
    (12 bytes a voxel of disk), which is compressed at the end.

    Components are rounded to a multiple of `quantum` mm, or finer where voxels are smaller than 512 of it: with the
    usual 1/1024 mm the error is at most 0.0005 mm and at most 1/1024 of a voxel, and the compressed file is a third
    smaller and no slower to write.

    Raises `UsageError` for another suffix or slices left out, `DataError` for a sheared grid (ITK refuses it), values
    that are not finite, what the convention cannot hold, or a file that cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        grid: Grid,
        convention: str = "itk",
        moving: Grid | None = None,
        quantum: float = QUANTUM,
    ) -> None:
        self.path, self.grid = Path(path), grid
        require_possible(convention, path, grid, moving)
        if suffix_of(path) not in NIFTI_SUFFIXES:
            found = suffix_of(path) or "without suffix"
            raise UsageError(f"{path}: displacement fields are streamed to .nii or .nii.gz, not {found}")
        require_perpendicular(grid, path, "a displacement field")
        self._code = vector_code(convention, grid, moving)
        self._intent = INTENTS[convention]
        self._extra = (1, grid.dimension) if convention in ("itk", "slicer") else (grid.dimension,)
        self._quantum = rounding_step(grid, in_voxels=convention == "learn2reg", quantum=quantum)
        self._missing = np.ones(grid.shape[-1], bool)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._final = stack.enter_context(replacing(self.path))
            self._raw = self._final.with_name("uncompressed") if self._packed else self._final
            self._file: BinaryIO = stack.enter_context(open(self._raw, "w+b"))
            self._file.write(header_bytes(self.path, self.grid, FLOAT, self._extra, intent=self._intent))
            self._stack = stack.pop_all()
        return self

    def write(self, start: int, stop: int, displacement_world: Tensor) -> None:
        """Write slices `start:stop` of the last axis: displacements `(X, [Y,] n, D)`, world mm, RAS components."""
        require_slab(self.path, self.grid, start, stop, displacement_world)
        steps = rounded(self._code.encode(displacement_world.detach().cpu(), self.grid, start, stop), self._quantum)
        slice_size = self.grid.size // self.grid.shape[-1]
        for c, component in enumerate(steps.unbind(-1)):
            self._file.seek(HEADER + FLOAT.itemsize * (c * self.grid.size + start * slice_size))
            self._file.write(component.numpy().astype(FLOAT).tobytes(order="F"))
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
                raise UsageError(f"{self.path}: slice {first} of {len(self._missing)} was never written")
            if self._packed:
                self._file.seek(0)
                with open_output(self._final) as packed:
                    shutil.copyfileobj(self._file, packed, 2**20)
                self._raw.unlink()

    @property
    def _packed(self) -> bool:
        return self.path.suffix.lower() == ".gz"


def require_slab(path: Path, grid: Grid, start: int, stop: int, displacement_world: Tensor) -> None:
    """Raise `UsageError` unless the displacements fit slices `start:stop`, `DataError` unless they are finite."""
    expected = (*grid.shape[:-1], stop - start, grid.dimension)
    if tuple(displacement_world.shape) != expected or not 0 <= start < stop <= grid.shape[-1]:
        raise UsageError(
            f"{path}: slices {start}:{stop} of {grid.shape[-1]} need displacements of shape {expected}, "
            f"got {tuple(displacement_world.shape)}"
        )
    if not all(map(math.isfinite, map(float, displacement_world.detach().aminmax()))):  # in one pass; NaN goes through
        raise DataError(f"{path}: expected finite displacements, found NaN or infinity in {start}:{stop}")


def rounded(vectors: Tensor, quantum: float) -> Tensor:
    """Return vectors rounded to a multiple of `quantum`, in their place."""
    return vectors.div_(quantum).round_().mul_(quantum)


def rounding_step(grid: Grid, in_voxels: bool = False, quantum: float = QUANTUM) -> float:
    """Return the power of two in mm that components are rounded to: the `quantum`, or less for voxels below 512 of it.

    For components in voxels, the power of two that is at most as long in mm.
    """
    step = min(quantum, 2.0 ** math.floor(math.log2(float(grid.spacing.min())) - 9))
    return 2.0 ** math.floor(math.log2(step / float(grid.spacing.max()))) if in_voxels else step


@torch.no_grad()
def write_displacement(
    path: str | Path, transform: PointMap, grid: Grid, convention: str = "itk", moving: Grid | None = None
) -> None:
    """Write the displacement `transform(x) - x` at the voxel centres of `grid`, evaluated slab by slab.

    `transform` takes world points to world points (mm, RAS): for a registration, fixed to moving, on the fixed
    image's grid. The file and the errors are those of `DisplacementWriter`.
    """
    with DisplacementWriter(path, grid, convention, moving) as writer:
        for start, stop, displacement in displacement_slabs(transform, grid):
            writer.write(start, stop, displacement)
