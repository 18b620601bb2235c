"""Coordinate attention: each point is mapped to the mean position of the moving image's matching features."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import Grid, gradients_recorded, recordable
from nephi.transforms.attention_cells import CellwiseAttention
from nephi.transforms.attention_dense import DenseAttention
from nephi.transforms.maps import Maps
from nephi.transforms.transform import Transform, any_real_points

ABSENT = -1e4  # score of a key that takes no part: its weight is exactly 0 beside any other, and none is NaN


class CoordinateAttention(Transform):
    """`phi(x) = sum_y p_y y + (x - c)`: the mean position of matching features (Greer et al., CARL, CVPR 2025).

    `p = softmax over y of f_B(c) . f_A(y)`. f_B are `features` of the fixed image `(*grid.shape, C)`, interpolated
    linearly on `grid`; f_A are the `keys` `(M, C)` of the moving image at `positions` `(M, D)`, world mm, anywhere. The
    point c is the one nearest to x, along the axes of `grid`, within `bounds` `(2, D)`: the lowest and the highest
    voxel coordinates, by default those of the whole grid. Beyond them the displacement continues, as that of
    `ContinuedDisplacement`; or the map continues with the linear part Q `(D, D)`, the `continuation`: `Q (x - c)`.

    Inside, `d phi / dx = sum_y p_y (y - phi) f_A(y)^T  d f_B / dx`; across the bounds it is Q or the identity. Values
    take time in proportion to points x keys, less for many points in a cell of `grid`; memory is bounded.

    Raises `DataError` for shapes that do not fit, values that are not finite, no key, and bounds outside the grid.
    """

    def __init__(
        self,
        features: Tensor,
        grid: Grid,
        keys: Tensor,
        positions: Tensor,
        bounds: Tensor | None = None,
        continuation: Tensor | None = None,
    ) -> None:
        _require_fitting(features, grid, keys, positions)
        self.features = recordable(features)
        self.grid = grid
        self.keys = recordable(keys)
        self.positions = recordable(positions.double())
        self.bounds = recordable(_grid_bounds(grid) if bounds is None else bounds.double())
        _require_bounds(self.bounds, grid)
        self.continuation = None if continuation is None else recordable(continuation.double())
        _require_continuation(self.continuation, grid)

    @cached_property
    @gradients_recorded()
    def _dense(self) -> DenseAttention:
        centre = self.positions.mean(dim=0)
        return DenseAttention(
            self.features[None],
            self.grid,
            self.keys[None],
            self.positions - centre,
            centre,
            None,
            self.bounds[None],
            None if self.continuation is None else self.continuation[None],
        )

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.grid.dimension

    @property
    def cells(self) -> Grid:
        """The grid of the fixed image's features."""
        return self.grid

    @any_real_points
    def __call__(self, points: Tensor) -> Tensor:
        """Return the values at points `(..., D)`."""
        return self._evaluated(points).value(points.reshape(1, -1, self.dimension)).reshape(points.shape)

    @any_real_points
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values and the Jacobians `(..., D, D)`, in closed form."""
        values, jacobians = self._evaluated(points).value_and_jacobian(points.reshape(1, -1, self.dimension))
        return values.reshape(points.shape), jacobians.reshape(*points.shape, self.dimension)

    def _evaluated(self, points: Tensor) -> DenseAttention | CellwiseAttention:
        """Return the form to evaluate: the dense one is differentiable, the cellwise one is fast at many points."""
        parts = (points, self.features, self.keys, self.positions)
        records = torch.is_grad_enabled() and any(part.requires_grad for part in parts)
        return self._dense if records else CellwiseAttention(self._dense)

    def conjugated(self, matrix: Tensor) -> CoordinateAttention:
        """Return `T phi T^-1` for a homogeneous world matrix T `(D + 1, D + 1)`: the same map in another world.

        Exact: the features' grid and the keys' positions are mapped, and phi is a mean of positions.
        """
        matrix = torch.as_tensor(matrix, dtype=torch.float64)
        positions = self.positions @ matrix[:-1, :-1].T + matrix[:-1, -1]
        linear = matrix[:-1, :-1]
        continuation = None if self.continuation is None else linear @ self.continuation @ torch.linalg.inv(linear)
        grid = self.grid.transformed(matrix)
        return CoordinateAttention(self.features, grid, self.keys, positions, self.bounds, continuation)


class AttentionMaps(Maps):
    """The coordinate attention of B pairs of images, each as `CoordinateAttention`.

    `features` `(B, C, *grid.shape)` are those of the fixed images, `keys` `(B, C, *key_grid.shape)` those of the moving
    images; the positions are the voxel centres of `key_grid`, which may be larger than `grid`. Only keys at which
    `present` `(B, *key_grid.shape)`, bool, is true take part, all of them for a pair without any. `bounds` is
    `(B, 2, D)`, `continuation` `(B, D, D)`.
    """

    def __init__(
        self,
        features: Tensor,
        grid: Grid,
        keys: Tensor,
        key_grid: Grid,
        present: Tensor | None = None,
        bounds: Tensor | None = None,
        continuation: Tensor | None = None,
    ) -> None:
        self.features, self.grid = features, grid
        self.keys, self.key_grid = keys, key_grid
        pairs = len(features)
        self.present = keys.new_ones(pairs, *key_grid.shape, dtype=torch.bool) if present is None else present
        self.bounds = _grid_bounds(grid).expand(pairs, -1, -1).to(features.device) if bounds is None else bounds
        self.continuation = continuation
        self._attention = self._batched_attention()

    def _batched_attention(self) -> DenseAttention:
        centre = self.key_grid.centre_world()
        positions = _voxel_centres(self.key_grid) - centre
        offsets = torch.where(self.present, 0.0, ABSENT).flatten(1)
        keys = self.keys.flatten(2).transpose(1, 2).contiguous()
        tables = self.features.movedim(1, -1).contiguous()
        moved = positions.to(keys)
        return DenseAttention(tables, self.grid, keys, moved, centre, offsets, self.bounds, self.continuation)

    def __len__(self) -> int:
        return len(self.features)

    def __call__(self, points: Tensor) -> Tensor:
        """Return the values `(B, N, D)`."""
        return self._attention.value(points)

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values and the Jacobians `(B, N, D, D)`, in closed form."""
        return self._attention.value_and_jacobian(points)

    def rows(self, pairs: slice) -> AttentionMaps:
        """Return the attention of some of the pairs."""
        parts = (self.features[pairs], self.grid, self.keys[pairs], self.key_grid)
        continuation = None if self.continuation is None else self.continuation[pairs]
        return AttentionMaps(*parts, self.present[pairs], self.bounds[pairs], continuation)

    def one(self, pair: int) -> CoordinateAttention:
        """Return the attention of one pair, with the keys that take part."""
        present = self.present[pair].flatten().cpu()
        if not bool(present.any()):
            present = ~present
        features, keys = (table[pair].detach().float().cpu() for table in (self.features, self.keys))
        return CoordinateAttention(
            features.movedim(0, -1).contiguous(),
            self.grid,
            keys.flatten(1).T[present],
            _voxel_centres(self.key_grid)[present],
            self.bounds[pair].detach().cpu(),
            None if self.continuation is None else self.continuation[pair].detach().cpu(),
        )


def _voxel_centres(grid: Grid) -> Tensor:
    """Return the world positions `(M, D)` of all voxel centres in double precision, the last axis fastest."""
    axes = [torch.arange(n, dtype=torch.float64) for n in grid.shape]
    return grid.voxel_to_world_points(torch.cartesian_prod(*axes))


def _grid_bounds(grid: Grid) -> Tensor:
    last = torch.tensor(grid.shape, dtype=torch.float64) - 1
    return torch.stack([torch.zeros_like(last), last])


def _require_fitting(features: Tensor, grid: Grid, keys: Tensor, positions: Tensor) -> None:
    if features.shape[:-1] != grid.shape or features.ndim != grid.dimension + 1:
        raise DataError(f"features: expected shape {(*grid.shape, 'C')} on this grid, got {tuple(features.shape)}")
    if keys.ndim != 2 or len(keys) < 1 or keys.shape[1] != features.shape[-1]:
        raise DataError(f"keys: expected shape ('M', {features.shape[-1]}), M at least 1, got {tuple(keys.shape)}")
    if positions.shape != (len(keys), grid.dimension):
        raise DataError(f"positions: expected shape {(len(keys), grid.dimension)}, got {tuple(positions.shape)}")
    for name, part in (("features", features), ("keys", keys), ("positions", positions)):
        if not bool(torch.isfinite(part).all()):
            raise DataError(f"{name}: expected finite values, got NaN or infinite ones")


def _require_bounds(bounds: Tensor, grid: Grid) -> None:
    outermost = _grid_bounds(grid)
    fitting = bounds.shape == outermost.shape and bool(
        ((bounds[0] >= outermost[0]) & (bounds[0] <= bounds[1]) & (bounds[1] <= outermost[1])).all()
    )
    if not fitting:
        raise DataError(f"bounds: expected two points between {outermost.tolist()} voxels, got {bounds.tolist()}")


def _require_continuation(continuation: Tensor | None, grid: Grid) -> None:
    if continuation is None:
        return
    if continuation.shape != (grid.dimension,) * 2 or not bool(torch.isfinite(continuation).all()):
        raise DataError(
            f"continuation: expected a matrix ({grid.dimension}, {grid.dimension}) of finite numbers, got "
            f"{continuation.tolist()}"
        )
