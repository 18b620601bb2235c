"""Displacement fields on a grid: of one pair, and of B pairs at once."""

from __future__ import annotations

import torch
from torch import Tensor

from nephi.argument_types import shown
from nephi.errors import DataError, UsageError
from nephi.geometry import (
    Grid,
    full_precision,
    identity_like,
    interpolate,
    interpolate_tables,
    interpolate_with_gradient,
    real_numbers,
)
from nephi.transforms.maps import Maps
from nephi.transforms.transform import Transform, any_real_points


class DisplacementField(Transform):
    """`phi(x) = x + u(x)`, u interpolated linearly on a grid and 0 outside it, as in ITK.

    `displacement` has shape `(*grid.shape, D)`, world mm, RAS components; an array becomes float32.
    Raises `DataError` when the shape does not fit the grid or a value is not finite.
    """

    def __init__(self, displacement: Tensor, grid: Grid) -> None:
        if not isinstance(grid, Grid):
            raise UsageError(f"grid: expected nephi.Grid, got {shown(grid)}")
        if not isinstance(displacement, Tensor):
            displacement = real_numbers(displacement, "displacement", "(*grid.shape, D)").float()
        if displacement.is_complex() or displacement.dtype == torch.bool:
            raise UsageError(f"displacement: expected real numbers, got {displacement.dtype}")
        expected = (*grid.shape, grid.dimension)
        if tuple(displacement.shape) != expected:
            raise DataError(f"a displacement field on this grid has shape {expected}, got {tuple(displacement.shape)}")
        # Slab by slab: a boolean copy of a 512-cubed field would dominate the memory of the process.
        if not all(bool(torch.isfinite(displacement[..., a:b, :]).all()) for a, b in grid.slabs()):
            raise DataError("the displacement field holds NaN or infinite values")
        self.displacement = displacement
        self.grid = grid

    def __repr__(self) -> str:
        """Return the grid in one line."""
        return f"{type(self).__name__}({self.grid!r})"

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


class DisplacementMaps(Maps):
    """`phi_b(x) = x + u_b(x)`, u interpolated linearly from `displacement` `(B, D, *shape)`, mm, on one grid.

    Beyond the grid u continues with its value at the border. The Jacobian is that of the interpolant, in closed form:
    constant along each axis within a cell, with jumps at the cells' faces.
    """

    def __init__(self, displacement: Tensor, grid: Grid) -> None:
        self.displacement = displacement
        self.grid = grid
        self._tables = displacement.movedim(1, -1).contiguous()  # all components of a voxel next to each other

    def __len__(self) -> int:
        return len(self.displacement)

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values `(B, N, D)`."""
        return points + interpolate_tables(self.displacement, self.grid.world_to_voxel_points(points))

    @full_precision()
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values, and `I + du/dx`, `(B, N, D, D)`."""
        voxels = self.grid.world_to_voxel_points(points)
        pairs = [interpolate_with_gradient(u, part) for u, part in zip(self._tables, voxels, strict=True)]
        by_voxel = torch.stack([gradient for _, gradient in pairs])
        by_world = by_voxel @ self.grid.inverse_affine[:-1, :-1].to(points)
        return points + torch.stack([value for value, _ in pairs]), identity_like(points) + by_world

    def rows(self, pairs: slice) -> DisplacementMaps:
        """Return the displacements of some of the pairs."""
        return DisplacementMaps(self.displacement[pairs], self.grid)

    def one(self, pair: int) -> ContinuedDisplacement:
        """Return the displacement field of one pair."""
        return ContinuedDisplacement(self._tables[pair].detach().float().cpu(), self.grid)
