"""The voxel grid of an image: its shape, and its affine to world coordinates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nephi.argument_types import matches, shown
from nephi.errors import DataError, UsageError
from nephi.geometry.gradient_mode import full_precision, recordable
from nephi.geometry.real_numbers import real_numbers

ROUNDING = 1e-4  # voxels
LARGEST_SIZE = 2**40  # voxels: more than an image in memory or a file has


@dataclass(frozen=True)
class Plane:
    """Position of a 2-D grid in the 3-D space of its file: the axial plane at `height` mm.

    `step` is the distance to the next slice along z in mm, negative if the third axis of the file points down, and None
    if the file has no third axis.
    """

    height: float
    step: float | None = None


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxel grid of an image in 2-D or 3-D.

    `affine` is the homogeneous `(D + 1, D + 1)` float64 matrix from voxel coordinates (the centre of the first voxel is
    0) to world coordinates (mm, RAS). Any axis order, obliquity, anisotropy and handedness are allowed.

    Points and vectors have separate methods. These map tensors of shape `(..., D)` and keep dtype and device; integers
    (voxel indices) are converted to float64.

    A 2-D grid may have a `plane`, at whose height files are written. It does not affect results; None means height 0.

    Raises `DataError` for a shape that is not 2-D or 3-D, or an affine that is not finite, homogeneous and invertible;
    `UsageError` for other types, and if the default device of torch is not the CPU (validated here because every
    computation uses a grid).
    """

    shape: tuple[int, ...]
    affine: Tensor
    plane: Plane | None = None

    def __post_init__(self) -> None:
        require_cpu_by_default()
        if not matches(self.shape, Sequence[int]):
            raise UsageError(f"shape: expected the number of voxels along each axis, got {shown(self.shape)}")
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        affine = real_numbers(self.affine, "affine", "(D + 1, D + 1)")
        object.__setattr__(self, "affine", recordable(affine.cpu()))
        if not isinstance(self.plane, Plane | None):
            raise UsageError(f"plane: expected nephi.geometry.Plane or None, got {shown(self.plane)}")
        d = len(self.shape)
        if d not in (2, 3) or min(self.shape) < 1:
            raise DataError(f"expected a grid of 2 or 3 axes of at least one voxel, got shape {self.shape}")
        if self.size > LARGEST_SIZE:
            raise DataError(f"expected a grid of at most 2^40 voxels, got shape {self.shape}")
        if self.affine.shape != (d + 1, d + 1):
            raise DataError(f"expected a {d + 1}x{d + 1} affine for a {d}-D grid, got {tuple(self.affine.shape)}")
        if not bool(torch.isfinite(self.affine).all()):
            raise DataError("the voxel-to-world affine holds NaN or infinite values")
        if self.affine[-1].tolist() != [0.0] * d + [1.0]:
            raise DataError(f"expected an affine whose last row is zeros and a one, got {self.affine[-1].tolist()}")
        scale = self.affine[:-1, :-1].norm(dim=0).prod()
        if scale == 0 or abs(torch.linalg.det(self.affine[:-1, :-1])) < 1e-6 * scale:
            raise DataError("the voxel-to-world affine is singular: voxels have no volume")

    def __repr__(self) -> str:
        """Return shape, spacing and origin in one line."""
        spacing, origin = (", ".join(f"{x:.4g}" for x in values.tolist()) for values in (self.spacing, self.origin))
        return f"Grid({self.shape} voxels of ({spacing}) mm, origin ({origin}) mm RAS)"

    @classmethod
    def from_spacing(
        cls, shape: Sequence[int], spacing: Sequence[float], origin: Sequence[float] | None = None
    ) -> Grid:
        """Return an axis-aligned grid with `spacing` (mm) whose first voxel centre is at `origin` (mm)."""
        if not matches(shape, Sequence[int]):
            raise UsageError(f"shape: expected the number of voxels along each axis, got {shown(shape)}")
        dimension = len(shape)
        affine = torch.eye(dimension + 1, dtype=torch.float64)
        for name, values in (("spacing", spacing), ("origin", [0.0] * dimension if origin is None else origin)):
            numbers = real_numbers(values, name, f"({dimension},)")
            if tuple(numbers.shape) != (dimension,):
                raise UsageError(f"{name}: expected {dimension} numbers, one for each axis, got {numbers.tolist()}")
            if name == "spacing":
                affine[:-1, :-1] = torch.diag(numbers)
            else:
                affine[:-1, -1] = numbers
        return cls(tuple(shape), affine)

    @property
    def dimension(self) -> int:
        """Number of axes D, 2 or 3."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def origin(self) -> Tensor:
        """World position `(D,)` in mm of the first voxel's centre."""
        return self.affine[:-1, -1]

    # Cached, and therefore computed outside of an inference mode of the caller.
    @cached_property
    @torch.inference_mode(False)
    def spacing(self) -> Tensor:
        """Distance in mm between voxel centres along each axis, `(D,)`."""
        return self.affine[:-1, :-1].norm(dim=0)

    @cached_property
    @torch.inference_mode(False)
    def direction(self) -> Tensor:
        """World direction of each voxel axis, unit columns of a `(D, D)` matrix."""
        return self.affine[:-1, :-1] / self.spacing

    @cached_property
    @torch.inference_mode(False)
    def inverse_affine(self) -> Tensor:
        """World-to-voxel matrix `(D + 1, D + 1)`, float64."""
        return torch.linalg.inv(self.affine)

    def voxel_to_world_points(self, points_voxel: Tensor) -> Tensor:
        """Map voxel coordinates `(..., D)` to world coordinates (mm)."""
        return _transform_points(self.affine, points_voxel)

    def world_to_voxel_points(self, points_world: Tensor) -> Tensor:
        """Map world coordinates `(..., D)` (mm) to voxel coordinates."""
        return _transform_points(self.inverse_affine, points_world)

    def voxel_to_world_vectors(self, vectors_voxel: Tensor) -> Tensor:
        """Map differences of voxel coordinates `(..., D)` to world vectors (mm)."""
        return _transform_vectors(self.affine, vectors_voxel)

    def world_to_voxel_vectors(self, vectors_world: Tensor) -> Tensor:
        """Map world vectors `(..., D)` (mm) to differences of voxel coordinates."""
        return _transform_vectors(self.inverse_affine, vectors_world)

    def corners_world(self) -> Tensor:
        """Return the world positions `(2^D, D)` (mm) of the corner voxel centres, float64."""
        ends = [(0.0, float(n - 1)) for n in self.shape]
        return self.voxel_to_world_points(torch.tensor(list(itertools.product(*ends)), dtype=torch.float64))

    def centre_world(self) -> Tensor:
        """Return the world position `(D,)` (mm) of the centre of the grid, float64."""
        return self.corners_world().mean(dim=0)

    def contains_voxel_points(self, points_voxel: Tensor) -> Tensor:
        """Return a bool tensor `(...)`: whether each point is in the grid, including half a voxel of border."""
        upper = torch.tensor(self.shape, dtype=torch.int64).to(points_voxel) - 0.5
        return ((points_voxel >= -0.5) & (points_voxel <= upper)).all(dim=-1)

    def voxel_centres(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Return world positions `(..., n, D)`, float32, of voxel centres in slices `start:stop` of the last axis."""
        last = range(self.shape[-1])[start:stop]
        axes = [torch.arange(n, dtype=torch.float64) for n in self.shape[:-1]]
        axes.append(torch.arange(last.start, last.stop, dtype=torch.float64))
        # A world position is a sum over axes: broadcasting adds once per axis, and keeps the large tensor in float32.
        total = self.origin.float()
        for i, steps in enumerate(axes):
            part = (steps[:, None] * self.affine[:-1, i]).float()
            total = total + part.reshape([-1 if j == i else 1 for j in range(self.dimension)] + [self.dimension])
        return total

    def slabs(self, points: int = 200_000) -> Iterator[tuple[int, int]]:
        """Yield ranges `(start, stop)` of the last axis of about `points` voxels each, to bound memory."""
        thickness = max(1, points * self.shape[-1] // self.size)
        for start in range(0, self.shape[-1], thickness):
            yield start, min(start + thickness, self.shape[-1])

    def divided(self, cells: Sequence[int]) -> Grid:
        """Return the grid of `cells` equal steps along each axis, from the first voxel centre to the last.

        Along an axis of one voxel, the steps divide one voxel spacing.
        """
        steps = [max(1, n - 1) / count for n, count in zip(self.shape, cells, strict=True)]
        scale = torch.tensor([*steps, 1.0], dtype=torch.float64)
        return Grid(tuple(count + 1 for count in cells), self.affine * scale, self.plane)

    def covering(self, other: Grid) -> Grid:
        """Return this grid, cropped or extended by whole voxels to the smallest that contains the voxels of `other`."""
        corners = self.world_to_voxel_points(other.corners_world())
        low, high = (corners.amin(dim=0) + ROUNDING).floor(), (corners.amax(dim=0) - ROUNDING).ceil()
        high = high.maximum(low)
        affine = self.affine.clone()
        affine[:-1, -1] = self.voxel_to_world_points(low)
        return Grid(tuple(int(n) + 1 for n in high - low), affine, self.plane)

    def transformed(self, matrix: Tensor) -> Grid:
        """Return the grid with its affine multiplied by a homogeneous world matrix `(D + 1, D + 1)` from the left."""
        return Grid(self.shape, torch.as_tensor(matrix, dtype=torch.float64) @ self.affine, self.plane)

    def in_space(self) -> Grid:
        """Return this grid in 3-D; a 2-D grid becomes a single slice in its plane."""
        if self.dimension == 3:
            return self
        plane = self.plane or Plane(0.0)
        affine = torch.eye(4, dtype=torch.float64)
        affine[:2, :2], affine[:2, 3] = self.affine[:2, :2], self.affine[:2, 2]
        affine[2, 2], affine[2, 3] = plane.step or 1.0, plane.height
        return Grid((*self.shape, 1), affine)

    def same_as(self, other: Grid, tolerance: float = 1e-3) -> bool:
        """Return whether both grids have the same shape and equal corners within `tolerance` voxels."""
        if self.shape != other.shape:
            return False
        difference = self.world_to_voxel_vectors(self.corners_world() - other.corners_world())
        return bool(difference.abs().max() <= tolerance)


def _transform_points(matrix: Tensor, points: Tensor) -> Tensor:
    vectors = _transform_vectors(matrix, points)
    return vectors + matrix[:-1, -1].to(vectors)


def _transform_vectors(matrix: Tensor, vectors: Tensor) -> Tensor:
    if not vectors.is_floating_point():
        vectors = vectors.double()
    with full_precision():
        return vectors @ matrix[:-1, :-1].T.to(vectors)


def require_cpu_by_default() -> None:
    """Raise `UsageError` unless torch's default device is the CPU, on which nephi creates its tensors."""
    device = torch.get_default_device()
    if device.type != "cpu":
        raise UsageError(
            f"expected the CPU as torch's default device, found {device}; call nephi inside of `with "
            "torch.device('cpu'):`, and name the device to compute on (device=...)"
        )
