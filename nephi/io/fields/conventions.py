"""Conventions of displacement vectors in the files of other tools, as one formula.

With `C_fixed` and `C_moving` the matrices from world mm (RAS) to the coordinates that a tool uses in the fixed and in
the moving image, every tool stores `C_moving phi(x) - C_fixed x`. The coordinates are:

- `itk`: LPS millimetres (ITK, SimpleITK, ANTs, greedy; NIfTI intent 1007);
- `slicer`: RAS millimetres (3-D Slicer; NIfTI intent 1006);
- `learn2reg`: voxels;
- `fsl`: voxels times spacing, the first axis reversed where the image's affine has a positive determinant;
- `spm`: RAS millimetres, and `C_fixed` is 0: the vectors are the positions `phi(x)` themselves (SPM's `y_*.nii`,
  NiftyReg's deformation fields).

`greedy` and `niftyreg` name tools: greedy writes fields as ITK does; NiftyReg states the kind of field in the header.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid, full_precision
from nephi.geometry.frames import flip_matrix

CONVENTIONS = ("itk", "slicer", "learn2reg", "fsl", "spm", "niftyreg", "greedy")
"""Names that `FieldConvention` accepts, for vectors of fields and for affine matrices in text."""
INTENTS = {"itk": 1007, "slicer": 1006, "learn2reg": 0, "fsl": 2006}
"""NIfTI intent codes that nephi writes; only 1007 and 1006 state the convention completely."""


@dataclass(frozen=True, eq=False)
class FieldConvention:
    """Convention of a field, or of an affine matrix in text, that its file does not state: one of `CONVENTIONS`.

    `fixed` is the grid of the fixed image (default: the grid in the field's header); `moving` that of the moving image
    (default: the fixed grid). Only `learn2reg` and `fsl` need them: their vectors are in the axes of the images.

    Raises `UsageError` for an unknown name.
    """

    name: str
    fixed: Grid | None = None
    moving: Grid | None = None

    def __post_init__(self) -> None:
        if self.name not in CONVENTIONS:
            raise UsageError(f"FieldConvention: expected one of {', '.join(CONVENTIONS)}, got {self.name!r}")


@dataclass(frozen=True, eq=False)
class VectorCodec:
    """Convert displacements in world mm (RAS) to a tool's vectors and back, by the formula at the top of this file.

    `fixed` and `moving` are the homogeneous `(D + 1, D + 1)` matrices from world points to the tool's coordinates.
    """

    fixed: Tensor
    moving: Tensor

    @full_precision()
    def encode(self, displacement_world: Tensor, grid: Grid, start: int, stop: int) -> Tensor:
        """Convert displacements `(..., D)` in slices `start:stop` of the last axis of `grid` to the tool's vectors."""
        linear = self.moving[:-1, :-1].T.to(displacement_world).contiguous()  # twice as fast as the transposed view
        vectors = displacement_world @ linear
        return vectors if self._same_coordinates else vectors + self._identity(grid, start, stop).to(vectors)

    @full_precision()
    def decode(self, vectors: Tensor, grid: Grid, start: int, stop: int) -> Tensor:
        """Convert vectors `(..., D)` in slices `start:stop` of the last axis to displacements in world mm (RAS)."""
        linear = torch.linalg.inv(self.moving[:-1, :-1]).T.to(vectors)
        return (vectors if self._same_coordinates else vectors - self._identity(grid, start, stop).to(vectors)) @ linear

    @property
    def _same_coordinates(self) -> bool:
        return torch.equal(self.fixed, self.moving)

    def _identity(self, grid: Grid, start: int, stop: int) -> Tensor:
        """Return the vectors `(..., D)` that the tool stores for the identity: `(C_moving - C_fixed) x` per voxel."""
        difference = self.moving - self.fixed
        return grid.voxel_centres(start, stop).double() @ difference[:-1, :-1].T + difference[:-1, -1]


def vector_codec(name: str, fixed: Grid, moving: Grid | None = None) -> VectorCodec:
    """Return the codec of the convention `name` between two images; `moving` defaults to the fixed grid."""
    to_moving = world_to_tool(name, moving or fixed)
    return VectorCodec(torch.zeros_like(to_moving) if name == "spm" else world_to_tool(name, fixed), to_moving)


def require_representable(name: str, path: object, fixed: Grid, moving: Grid | None) -> None:
    """Raise `DataError` naming `path` when the convention cannot represent a field between these two images.

    2-D fields are written by the convention `itk` only: ITK 5.4 negates the first two of every three numbers of a field
    of intent 1006, which is wrong in 2-D.
    """
    if fixed.dimension != 3 and name != "itk":
        raise DataError(f"{path}: expected 3-D images for the format {name}, found {fixed.dimension}-D; use itk")
    if name == "learn2reg" and moving is not None and not fixed.same_as(moving):
        raise DataError(
            f"{path}: expected both images on one grid for the format learn2reg, found {_describe_grid(fixed)} for the "
            f"reference and {_describe_grid(moving)} for the moving image; resample one first, or use another format"
        )


def _describe_grid(grid: Grid) -> str:
    shape, spacing = (" x ".join(f"{n:.4g}" for n in values) for values in (grid.shape, grid.spacing.tolist()))
    origin = ", ".join(f"{o:.2f}" for o in grid.origin.tolist())
    return f"{shape} voxels of {spacing} mm at ({origin})"


def world_to_tool(name: str, grid: Grid) -> Tensor:
    """Return the matrix `(D + 1, D + 1)` from world points (mm, RAS) to the coordinates of the convention `name`."""
    if name in ("slicer", "spm"):
        return torch.eye(grid.dimension + 1, dtype=torch.float64)
    if name == "itk":
        return flip_matrix(grid.dimension)
    if name == "learn2reg":
        return grid.inverse_affine
    return _fsl_scaling(grid) @ grid.inverse_affine


def _fsl_scaling(grid: Grid) -> Tensor:
    """Return the matrix from voxels to FSL's millimetres."""
    matrix = torch.diag(torch.cat([grid.spacing, torch.ones(1, dtype=torch.float64)]))
    if float(torch.linalg.det(grid.affine[:-1, :-1])) > 0:
        matrix[0, 0] = -grid.spacing[0]
        matrix[0, -1] = (grid.shape[0] - 1) * grid.spacing[0]
    return matrix
