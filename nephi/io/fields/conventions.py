"""What the vectors of a displacement field mean: the conventions of several tools, as one formula.

Every tool measures points in coordinates of its own, `C_fixed x` in the fixed and `C_moving y` in the moving image,
and stores `C_moving phi(x) - C_fixed x`:

- `itk`: LPS millimetres (ITK, SimpleITK, ANTs, greedy; NIfTI intent 1007);
- `slicer`: RAS millimetres (3-D Slicer; NIfTI intent 1006);
- `learn2reg`: voxels;
- `fsl`: voxels times spacing, the first axis reversed where the image's affine has a positive determinant;
- `spm`: RAS millimetres, and `C_fixed` is 0: the vectors are the positions `phi(x)` themselves (SPM's `y_*.nii`,
  NiftyReg's deformation fields).

`greedy` and `niftyreg` name tools: greedy's fields are ITK's, NiftyReg's header holds the kind of its fields.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid, full_precision
from nephi.io.frames import flip_matrix

CONVENTIONS = ("itk", "slicer", "learn2reg", "fsl", "spm", "niftyreg", "greedy")
"""Conventions of the vectors of fields and of affine maps in text: the names that `FieldConvention` takes."""
INTENTS = {"itk": 1007, "slicer": 1006, "learn2reg": 0, "fsl": 2006}
"""NIfTI intent codes that are written; 1007 and 1006 alone tell a reader all it has to know."""


@dataclass(frozen=True, eq=False)
class FieldConvention:
    """How to read a field, or an affine map in text, that does not state its convention: one of `CONVENTIONS`.

    `fixed` is the grid of the fixed image (default: that in the field's header); `moving` that of the moving image
    (default: the fixed grid). They matter to `learn2reg` and `fsl` alone, whose vectors are in the images' own axes.

    Raises `UsageError` for an unknown name.
    """

    name: str
    fixed: Grid | None = None
    moving: Grid | None = None

    def __post_init__(self) -> None:
        if self.name not in CONVENTIONS:
            raise UsageError(f"unknown convention {self.name!r} of a field: choose one of {', '.join(CONVENTIONS)}")


@dataclass(frozen=True, eq=False)
class VectorCode:
    """Take displacements in world mm (RAS) to a tool's vectors and back; see the head of this file.

    `fixed` and `moving` are the homogeneous `(D + 1, D + 1)` matrices that take world points to the tool's coordinates.
    """

    fixed: Tensor
    moving: Tensor

    @full_precision()
    def encode(self, displacement_world: Tensor, grid: Grid, start: int, stop: int) -> Tensor:
        """Return the tool's vectors `(..., D)` of the displacements in slices `start:stop` of `grid`'s last axis."""
        linear = self.moving[:-1, :-1].T.to(displacement_world).contiguous()  # twice as fast as the transposed one
        vectors = displacement_world @ linear
        return vectors if self._one_frame else vectors + self._gap(grid, start, stop).to(vectors)

    @full_precision()
    def decode(self, vectors: Tensor, grid: Grid, start: int, stop: int) -> Tensor:
        """Return the displacements `(..., D)` in world mm (RAS) of vectors in slices `start:stop` of the last axis."""
        linear = torch.linalg.inv(self.moving[:-1, :-1]).T.to(vectors)
        return (vectors if self._one_frame else vectors - self._gap(grid, start, stop).to(vectors)) @ linear

    @property
    def _one_frame(self) -> bool:
        return torch.equal(self.fixed, self.moving)

    def _gap(self, grid: Grid, start: int, stop: int) -> Tensor:
        """Return how far apart each voxel's world position is in the coordinates of the two images."""
        gap = self.moving - self.fixed
        return grid.voxel_centres(start, stop).double() @ gap[:-1, :-1].T + gap[:-1, -1]


def vector_code(name: str, fixed: Grid, moving: Grid | None = None) -> VectorCode:
    """Return how the convention `name` stores vectors between two images; `moving` is the fixed grid if not given."""
    target = coordinates(name, moving or fixed)
    return VectorCode(torch.zeros_like(target) if name == "spm" else coordinates(name, fixed), target)


def require_possible(name: str, path: object, fixed: Grid, moving: Grid | None) -> None:
    """Raise `DataError` naming `path` when the convention cannot hold a field between these two images.

    (ITK 5.4 garbles 2-D fields of intent 1006: it negates the first two of every three numbers.)
    """
    if fixed.dimension != 3 and name != "itk":
        raise DataError(f"{path}: the format {name} is for 3-D images, found {fixed.dimension}-D; use itk")
    if name == "learn2reg" and moving is not None and not fixed.same_as(moving):
        raise DataError(
            f"{path}: learn2reg needs both images on one grid, found {_told(fixed)} for the reference and "
            f"{_told(moving)} for the moving image; resample one first, or use another format"
        )


def _told(grid: Grid) -> str:
    shape, spacing = (" x ".join(f"{n:.4g}" for n in values) for values in (grid.shape, grid.spacing.tolist()))
    origin = ", ".join(f"{o:.2f}" for o in grid.origin.tolist())
    return f"{shape} voxels of {spacing} mm at ({origin})"


def coordinates(name: str, grid: Grid) -> Tensor:
    """Return the matrix `(D + 1, D + 1)` from world points (mm, RAS) to the coordinates that a tool measures in."""
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
