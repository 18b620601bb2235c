"""The softmax means of coordinate attention at many points, cell by cell of the features' grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nephi.geometry import full_precision
from nephi.transforms.attention_dense import DenseAttention, covariances, position_moments

FEWEST = 100  # points in a cell from which on the scores at its corners are worth their time
HIGHEST = 80.0  # of the scores in a cell, relative to their mean: the exponential of 88 is infinite in float32
SCORES = 2**19  # pairs of points and keys in memory at once: 2 MiB in single precision, which a cache holds


@dataclass(frozen=True)
class CellwiseAttention:
    """The values of a `DenseAttention` of one pair, in less time where many points share a cell. Not differentiable.

    Features are interpolated linearly between the 2^D corners c of a cell, and so are the scores of the keys:
    `s_y(x) = sum_c w_c(x) s_y(c)`. Within a cell they are thus products of 2^D numbers in place of all channels, and
    derivatives need 2^D covariances: `d phi / dx = sum_c C_p(y, s_y(c)) dw_c / dx`. The values are the same to
    rounding.
    """

    dense: DenseAttention

    @torch.no_grad()
    @full_precision()
    def value(self, points: Tensor) -> Tensor:
        """Return the values `(1, N, D)` at points `(1, N, D)`."""
        located = _LocatedPoints(self.dense, points[0])
        values, others = torch.empty_like(points), [located.scattered]
        for rows, corners in located.cells():
            cell = _Cell(self.dense, corners)
            if cell.highest > HIGHEST:
                others.append(rows)
                continue
            means = cell.means(located.weights(rows), cell.positions)
            values[0, rows] = means + (cell.centre + located.beyond[rows])
        rest = torch.cat(others)
        values[:, rest] = self.dense.value(points[:, rest])
        return values

    @torch.no_grad()
    @full_precision()
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values and the Jacobians `(1, N, D, D)`."""
        located, d = _LocatedPoints(self.dense, points[0]), points.shape[-1]
        values, jacobians, others = torch.empty_like(points), points.new_empty(*points.shape, d), [located.scattered]
        for rows, corners in located.cells():
            cell = _Cell(self.dense, corners)
            if cell.highest > HIGHEST:
                others.append(rows)
                continue
            moments = cell.means(located.weights(rows), position_moments(cell.positions, cell.scores))
            means, covariance = covariances(moments, d)
            by_voxel = covariance @ located.slopes(rows)
            values[0, rows] = means + (cell.centre + located.beyond[rows])
            jacobians[0, rows] = self.dense.jacobians(by_voxel[None], located.inside[None, rows])[0]
        rest = torch.cat(others)
        values[:, rest], jacobians[:, rest] = self.dense.value_and_jacobian(points[:, rest])
        return values, jacobians


class _Cell:
    """The keys as seen from a cell with features `(corners, C)` at its corners.

    `scores` `(M, corners)` are those at the corners, less their means under the weights at the centre of the cell: a
    common factor. The sum of their exponentials is at least 1 anywhere in the cell, by Gibbs' inequality. `positions`
    `(M, D)`, mm, are relative to their mean at the centre, which is `centre`.
    """

    def __init__(self, dense: DenseAttention, corners: Tensor) -> None:
        scores = dense.keys[0].to(corners) @ corners.T
        weights = scores.mean(dim=1).softmax(dim=0)
        positions = dense.positions.to(corners)
        mean = weights @ positions
        self.scores = scores - weights @ scores
        self.positions = positions - mean
        self.centre = dense.centre.to(corners) + mean
        self.highest = float(self.scores.amax())

    def means(self, weights: Tensor, values: Tensor) -> Tensor:
        """Return the means `(n, W)` of `values` `(M, W)` at points whose corners have `weights` `(n, corners)`."""
        columns = torch.cat([values, torch.ones_like(values[:, :1])], dim=1).T.contiguous()
        # The points of a block lie side by side: sums of few columns over many keys are several times faster so.
        blocks = weights.T.split(max(1, SCORES // len(values)), dim=1)
        sums = torch.cat([columns @ (self.scores @ block).exp_() for block in blocks], dim=1)
        return (sums[:-1] / sums[-1]).T


class _LocatedPoints:
    """Points `(N, D)` in the cells of the features' grid; the rows of those in cells of few points are `scattered`.

    `beyond` and `inside` are those of `DenseAttention.clamp`.
    """

    def __init__(self, dense: DenseAttention, points: Tensor) -> None:
        self._table, self._shape = dense.tables[0].to(points), dense.grid.shape
        compared, self.beyond, self.inside = (part[0] for part in dense.clamp(points[None]))
        last_cell = torch.tensor([max(0, n - 2) for n in self._shape], dtype=points.dtype, device=points.device)
        lowest = compared.floor().minimum(last_cell).nan_to_num()
        self._fractions, self._lowest = compared - lowest, lowest.long()
        strides = torch.tensor([math.prod(self._shape[k + 1 :]) for k in range(len(self._shape))], dtype=torch.int64)
        cells = (self._lowest * strides.to(points.device)).sum(dim=-1)
        order = cells.argsort(stable=True)
        groups = order.split(cells[order].unique_consecutive(return_counts=True)[1].tolist())
        self._groups = [group for group in groups if len(group) >= FEWEST]
        self.scattered = torch.cat([order[:0], *(group for group in groups if len(group) < FEWEST)])

    def cells(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the rows of the points in each cell, and the features `(corners, C)` of its corners."""
        for group in self._groups:
            cell = tuple(slice(low, low + 2) for low in self._lowest[group[0]].tolist())  # one voxel of an axis of one
            yield group, self._table[cell].flatten(0, -2)

    def weights(self, rows: Tensor) -> Tensor:
        """Return the weights `(n, corners)` of the corners in linear interpolation."""
        return self._products(rows, slope_of=None)

    def slopes(self, rows: Tensor) -> Tensor:
        """Return the derivatives `(n, corners, D)` of the weights with respect to voxel coordinates."""
        return torch.stack([self._products(rows, axis) for axis in range(len(self._shape))], dim=-1)

    def _products(self, rows: Tensor, slope_of: int | None) -> Tensor:
        result = self._fractions.new_ones(len(rows), 1)
        for axis, n in enumerate(self._shape):
            t = self._fractions[rows, axis]
            one = torch.ones_like(t)
            ends = [-one, one] if axis == slope_of else [1 - t, t]
            if n == 1:
                ends = [0 * one if axis == slope_of else one]
            result = (result.unsqueeze(-1) * torch.stack(ends, dim=-1).unsqueeze(-2)).flatten(1)
        return result
