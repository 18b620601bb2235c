"""Values at the nodes of a grid between which linear interpolation fits a smooth transform best."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.transforms.transform import Transform, any_real_points

SHARE = 1 / 16  # of a second difference


class NodeValues(Transform):
    """A transform with a continuous Jacobian, less a sixteenth of its second differences along the axes of a grid.

    A field interpolated between exact values f deviates to the side of the curvature only, with nodes h apart by up to
    `h^2 / 8 |f''|`. With `f(x) - (f(x + h) - 2 f(x) + f(x - h)) / 16` at the nodes, nodes and midpoints deviate equally
    and to both sides, by `h^2 / 16 |f''|`. This is the smallest possible maximum for a parabola. Along an axis, values
    at both ends of the grid are exact: the transform may not continue smoothly beyond.
    """

    def __init__(self, transform: Transform, grid: Grid) -> None:
        self.transform = transform
        self.grid = grid

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.transform.dimension

    @any_real_points
    def __call__(self, points: Tensor) -> Tensor:
        """Return the values at points `(..., D)`, mm; meant for nodes of the grid."""
        value = self.transform(points)
        result = value.clone()
        for step, inner in self._steps(points):
            second = self.transform(points + step) - 2 * value + self.transform(points - step)
            result -= SHARE * inner.unsqueeze(-1) * second
        return result

    @any_real_points
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values, and the Jacobian of the transform less a sixteenth of its second differences."""
        _, jacobian = self.transform.value_and_jacobian(points)
        result = jacobian.clone()
        for step, inner in self._steps(points):
            ahead, behind = (self.transform.value_and_jacobian(p)[1] for p in (points + step, points - step))
            result -= SHARE * inner[..., None, None] * (ahead - 2 * jacobian + behind)
        return self(points), result

    def _steps(self, points: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the step to the next node along each axis, `(D,)` mm, and 0 `(...)` for points at both ends, else 1."""
        voxels = self.grid.world_to_voxel_points(points)
        for axis, size in enumerate(self.grid.shape):
            inner = (voxels[..., axis] > 0.5) & (voxels[..., axis] < size - 1.5)
            yield self.grid.affine[:-1, axis].to(points), inner.to(points)


def fitted_slabs(slabs: Iterable[tuple[int, int, Tensor]], grid: Grid) -> Iterator[tuple[int, int, Tensor]]:
    """Yield the displacements of `NodeValues` from slabs of the exact ones on a grid, as `displacement_slabs` does.

    Every node is evaluated once. The last slice of a slab is yielded with the next one, which contains its neighbour.
    """
    planes, done = grid.shape[-1], 0
    kept: Tensor | None = None  # the last two slices
    for _, stop, displacement in slabs:
        block = displacement if kept is None else torch.cat([kept, displacement], dim=-2)
        end, first = stop if stop == planes else stop - 1, stop - block.shape[-2]
        if end > done:
            yield done, end, _fit(block)[..., done - first : end - first, :]
            done = end
        kept = block[..., -2:, :]


def _fit(values: Tensor) -> Tensor:
    """Subtract a sixteenth of the second differences along all axes but the last, which are 0 at both ends."""
    result = values.clone()
    for axis in range(values.ndim - 1):
        inner = values.shape[axis] - 2
        if inner > 0:
            low, middle, high = (values.narrow(axis, shift, inner) for shift in range(3))
            result.narrow(axis, 1, inner).sub_(low - 2 * middle + high, alpha=SHARE)
    return result
