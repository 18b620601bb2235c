"""Free-form deformations: cubic B-splines over a grid of control points."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import (
    Grid,
    PointMap,
    identity_like,
    spline_coefficients,
    spline_sites,
    spline_slopes,
    spline_weights,
)
from nephi.transforms.transform import Transform, any_real_points


class BSplineField(Transform):
    """`phi(x) = x + u(x)`, u the sum of cubic B-splines at the control points of a grid (Rueckert et al., 1999).

    `coefficients` has shape `(*grid.shape, D)`, world mm, RAS components. As ITK has it, u is 0 where not all 4^D
    control points around x exist: beyond the second and the last but one along any axis.
    Raises `DataError` when the shape does not fit the grid, an axis has less than 4 control points, or a value is not
    finite.
    """

    def __init__(self, coefficients: Tensor, grid: Grid) -> None:
        expected = (*grid.shape, grid.dimension)
        if tuple(coefficients.shape) != expected:
            raise DataError(f"B-splines on this grid need coefficients {expected}, got {tuple(coefficients.shape)}")
        if min(grid.shape) < 4:
            raise DataError(f"cubic B-splines need at least 4 control points along each axis, got {grid.shape}")
        if not bool(torch.isfinite(coefficients).all()):
            raise DataError("the B-spline coefficients hold NaN or infinite values")
        self.coefficients = coefficients
        self.grid = grid

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.grid.dimension

    @any_real_points
    def __call__(self, points: Tensor) -> Tensor:
        """Return `x + u(x)` for points `(..., D)`."""
        first, offset, inside = self._cell(points)
        weights = [spline_weights(t, 3) for t in offset.unbind(-1)]
        total = torch.zeros_like(points)
        for corner, values in self._control_points(first):
            product = torch.ones_like(total[..., 0])
            for axis, step in enumerate(corner):
                product = product * weights[axis][step]
            total = total + product.unsqueeze(-1) * values
        return points + total * inside

    @any_real_points
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return `x + u(x)` and `I + du/dx`, from the derivatives of the splines."""
        first, offset, inside = self._cell(points)
        weights = [spline_weights(t, 3) for t in offset.unbind(-1)]
        slopes = [spline_slopes(t, 3) for t in offset.unbind(-1)]
        total = torch.zeros_like(points)
        gradient = torch.zeros_like(points).unsqueeze(-1).repeat_interleave(self.dimension, -1)
        for corner, values in self._control_points(first):
            factors = [weights[axis][step] for axis, step in enumerate(corner)]
            total = total + torch.stack(factors).prod(dim=0).unsqueeze(-1) * values
            for axis, step in enumerate(corner):
                steep = [*factors[:axis], slopes[axis][step], *factors[axis + 1 :]]
                gradient[..., axis] += torch.stack(steep).prod(dim=0).unsqueeze(-1) * values
        to_voxel = self.grid.inverse_affine[:-1, :-1].to(points)
        jacobian = identity_like(points) + gradient @ to_voxel * inside.unsqueeze(-1)
        return points + total * inside, jacobian

    def _cell(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the first of the 4 control points along each axis, the offset from the second, and whether inside."""
        voxel = self.grid.world_to_voxel_points(points)
        last = torch.tensor(self.grid.shape, dtype=torch.int64, device=points.device) - 2
        inside = ((voxel >= 1) & (voxel <= last)).all(dim=-1, keepdim=True)
        first = (voxel.floor().long() - 1).clamp(min=0).minimum(last - 2)
        return first, voxel - (first + 1), inside

    def _control_points(self, first: Tensor) -> itertools.starmap[tuple[tuple[int, ...], Tensor]]:
        """Yield the 4^D control points around each point: steps along the axes, and their coefficients."""
        strides = [math.prod(self.grid.shape[axis + 1 :]) for axis in range(self.dimension)]
        flat = self.coefficients.reshape(-1, self.dimension)
        base = sum(first[..., axis] * stride for axis, stride in enumerate(strides))
        assert isinstance(base, Tensor)

        def read(*corner: int) -> tuple[tuple[int, ...], Tensor]:
            index = base + sum(step * stride for step, stride in zip(corner, strides, strict=True))
            return corner, flat.index_select(0, index.reshape(-1)).reshape(*index.shape, -1).to(first.device)

        return itertools.starmap(read, itertools.product(range(4), repeat=self.dimension))


@torch.no_grad()
def interpolating_splines(transform: PointMap, grid: Grid, spacing: float) -> BSplineField:
    """Return B-splines that interpolate `transform(x) - x` between the outermost voxel centres of `grid`.

    Control points are at most `spacing` mm apart, along the axes of `grid`. The displacements are evaluated at as many
    positions as there are control points.
    """
    last = torch.tensor(grid.shape, dtype=torch.float64) - 1
    cells = (last * grid.spacing / spacing).ceil().clamp(min=1)
    steps = last.clamp(min=1) / cells
    sites = [spline_sites(int(c), 3) * c * step for c, step in zip(cells, steps.tolist(), strict=True)]
    points = grid.voxel_to_world_points(torch.stack(torch.meshgrid(*sites, indexing="ij"), dim=-1))
    coefficients = spline_coefficients(transform(points) - points, 3)
    to_voxel = torch.diag(torch.cat([steps, steps.new_ones(1)]))
    to_voxel[:-1, -1] = -steps  # the first control point lies one step before the first voxel centre
    return BSplineField(coefficients.float(), Grid(tuple(coefficients.shape[:-1]), grid.affine @ to_voxel))
