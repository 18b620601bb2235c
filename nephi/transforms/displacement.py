"""Displacement fields stored on a grid."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import Grid, identity_like, interpolate, interpolate_with_gradient
from nephi.transforms.transform import Transform, any_real_points


class DisplacementField(Transform):
    """`phi(x) = x + u(x)`, u interpolated linearly on a grid and 0 outside it, as in ITK.

    `displacement` has shape `(*grid.shape, D)`, world mm, RAS components.
    Raises `DataError` when the shape does not fit the grid or a value is not finite.
    """

    def __init__(self, displacement: Tensor, grid: Grid) -> None:
        expected = (*grid.shape, grid.dimension)
        if tuple(displacement.shape) != expected:
            raise DataError(f"a displacement field on this grid has shape {expected}, got {tuple(displacement.shape)}")
        # Slab by slab: a boolean copy of a 512-cubed field would dominate the memory of the process.
        if not all(bool(torch.isfinite(displacement[..., a:b, :]).all()) for a, b in grid.slabs()):
            raise DataError("the displacement field holds NaN or infinite values")
        self.displacement = displacement
        self.grid = grid

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.grid.dimension

    @property
    def cells(self) -> Grid | None:
        """The grid itself."""
        return self.grid

    @any_real_points
    def __call__(self, points: Tensor) -> Tensor:
        """Return `x + u(x)` for points `(..., D)`."""
        voxel = self.grid.world_to_voxel_points(points)
        inside = self.grid.contains_voxel_points(voxel).unsqueeze(-1)
        return points + interpolate(self.displacement, voxel) * inside

    @any_real_points
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return `x + u(x)` and `I + du/dx`, piecewise linear: the derivative of the interpolant itself."""
        voxel = self.grid.world_to_voxel_points(points)
        inside = self.grid.contains_voxel_points(voxel).unsqueeze(-1)
        u, gradient_voxel = interpolate_with_gradient(self.displacement, voxel)
        to_voxel = self.grid.inverse_affine[:-1, :-1].to(points)
        gradient = gradient_voxel @ to_voxel * inside.unsqueeze(-1)
        return points + u * inside, identity_like(points) + gradient


class ContinuedDisplacement(DisplacementField):
    """`phi(x) = x + u(x)` as `DisplacementField`, but beyond the grid u continues with its value at the border.

    For the displacements that networks predict in their box, which may be smaller than the image.
    """

    @any_real_points
    def __call__(self, points: Tensor) -> Tensor:
        """Return `x + u(x)` for points `(..., D)`."""
        return points + interpolate(self.displacement, self.grid.world_to_voxel_points(points))

    @any_real_points
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return `x + u(x)` and `I + du/dx`, piecewise linear; beyond the grid constant across its border."""
        u, gradient_voxel = interpolate_with_gradient(self.displacement, self.grid.world_to_voxel_points(points))
        gradient = gradient_voxel @ self.grid.inverse_affine[:-1, :-1].to(points)
        return points + u, identity_like(points) + gradient
