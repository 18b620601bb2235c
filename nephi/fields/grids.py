"""Trainable latent values of a field: dense multi-level grids, hash grids, and codes shared with the inverse."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nephi.fields import jets
from nephi.fields.encodings import Encoding
from nephi.geometry import multilinear, multilinear_with_slopes, spline, spline_with_slopes

PRIMES = (1, 2_654_435_761, 805_459_861)  # one for each axis (Mueller et al. 2022)


class LatentGrids(Encoding):
    """Channels on dense lattices of several spacings over the unit cube, interpolated and concatenated.

    `shapes` lists the lattice `(n_1, ..., n_D)` of each level. All levels live in one table `(rows, channels)`, so
    that one gather reads them all; derivatives are those of the interpolation weights. `degree` is 1 for linear
    interpolation, 2 or 3 for uniform B-splines: a lattice has `degree` more nodes than cells along each axis, of which
    `(degree - 1) / 2` at either end lie beyond the cube, and derivatives of the features are continuous.
    """

    def __init__(
        self,
        shapes: Sequence[Sequence[int]],
        channels: int,
        spread: float,
        generator: torch.Generator,
        degree: int = 1,
    ) -> None:
        super().__init__()
        self.degree = degree
        self.shapes = tuple(tuple(shape) for shape in shapes)
        self.channels = channels * len(self.shapes)
        self.width = channels
        rows = [self._level_rows(shape) for shape in self.shapes]
        features = torch.randn(sum(rows), channels, generator=generator, dtype=torch.float32)
        self.table = nn.Parameter(spread * features)
        self._buffer("cells_by_level", torch.tensor(self.shapes, dtype=torch.int64) - degree)  # (L, D)
        d = len(self.shapes[0])
        steps = [[math.prod(shape[axis + 1 :]) for shape in self.shapes] for axis in range(d)]
        self._buffer("_strides", torch.tensor(steps, dtype=torch.int64))  # (D, L), in rows
        self._buffer("first_rows", torch.tensor([0, *itertools.accumulate(rows)][:-1], dtype=torch.int64))  # (L,)
        corners = list(itertools.product(range(degree + 1), repeat=d))
        self._buffer("_corners", torch.tensor(corners, dtype=torch.int64))  # ((degree + 1)^D, D)

    cells_by_level: Tensor
    first_rows: Tensor
    _strides: Tensor
    _corners: Tensor

    def _buffer(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)  # moves with the module, but is not stored

    def _level_rows(self, shape: tuple[int, ...]) -> int:
        return math.prod(shape)

    @property
    def rows(self) -> int:
        """Number of the table's rows."""
        return len(self.table)

    def _row_index(self, base: list[Tensor]) -> Tensor:
        """Return table rows `(nodes, N, L)` of the nodes around cells `base`, one `(N, L)` tensor an axis."""
        first = self.first_rows + sum(b * stride for b, stride in zip(base, self._strides, strict=True))
        return (self._corners @ self._strides)[:, None] + first

    def jet(self, unit: Tensor, directions: int) -> Tensor:
        """Return the interpolated features of all levels and their derivatives, within a cell."""
        return self.read(self.table, unit, directions)

    def read(self, table: Tensor, unit: Tensor, directions: int, first_row: Tensor | None = None) -> Tensor:
        """Return the jet of another `table` `(rows, width)` for these lattices, or of several tables concatenated.

        `first_row` `(N,)` is then the first row of each point's own table.
        """
        base, fractions = [], []
        for coordinate, cells in zip(unit.unbind(-1), self.cells_by_level.T, strict=True):
            position = coordinate.unsqueeze(-1) * cells
            low = position.detach().floor().minimum(cells - 1).nan_to_num(0.0)  # NaN needs a cell as well
            base.append(low.long())
            fractions.append(position - low)
        index = self._row_index(base)
        if first_row is not None:
            index = index + first_row[:, None]
        # The gradient of torch's embedding takes seven times as long as that of index_select.
        rows = table.index_select(0, index.reshape(-1))
        corners = rows.view((self.degree + 1,) * len(base) + (*index.shape[1:], self.width))
        is_linear = self.degree == 1
        if directions == 0:
            value = (multilinear if is_linear else spline)(corners, fractions)
            return value.reshape(1, len(unit), self.channels)
        value, slopes = (multilinear_with_slopes if is_linear else spline_with_slopes)(corners, fractions)
        by_unit = [slope * cells.unsqueeze(-1) for slope, cells in zip(slopes, self.cells_by_level.T, strict=True)]
        return torch.stack([value, *by_unit]).reshape(1 + directions, len(unit), self.channels)


class HashGrids(LatentGrids):
    """Multi-level grids whose fine levels share a table of bounded size by hashing (Mueller et al. 2022).

    A level with at most `table_size` nodes is stored densely; in larger ones node `p` is row
    `xor_i(p_i prime_i) mod table_size`, and colliding nodes share their features.
    """

    def __init__(
        self,
        shapes: Sequence[Sequence[int]],
        channels: int,
        spread: float,
        generator: torch.Generator,
        table_size: int,
        degree: int = 1,
    ) -> None:
        self.table_size = table_size
        super().__init__(shapes, channels, spread, generator, degree)
        hashed = torch.tensor([math.prod(shape) > table_size for shape in self.shapes], dtype=torch.bool)
        self._buffer("_hashed", hashed)  # (L,)

    _hashed: Tensor

    def _level_rows(self, shape: tuple[int, ...]) -> int:
        return min(math.prod(shape), self.table_size)

    def _row_index(self, base: list[Tensor]) -> Tensor:
        mixed = torch.zeros((), dtype=torch.int64, device=self.first_rows.device)
        for axis, prime in zip(range(len(base)), PRIMES, strict=False):
            mixed = mixed ^ ((base[axis] + self._corners[:, axis, None, None]) * prime)
        dense = super()._row_index(base)
        return torch.where(self._hashed, mixed % self.table_size + self.first_rows, dense)


class LatentCodes(nn.Module):
    """Latent codes `z(x) = [z_global, z_local(x)]` of phi and its inverse (NePhi): a vector, and a coarse lattice.

    `global_channels` or the local lattice (`shape` with `local_channels`) may be empty (0 channels).
    """

    def __init__(
        self,
        global_channels: int,
        local_channels: int,
        shape: Sequence[int],
        spread: float,
        generator: torch.Generator,
        degree: int = 1,
    ) -> None:
        super().__init__()
        self.channels = global_channels + local_channels
        global_code = torch.randn(global_channels, generator=generator, dtype=torch.float32)
        self.global_code = nn.Parameter(spread * global_code)
        self.local = LatentGrids([shape], local_channels, spread, generator, degree) if local_channels else None

    def jet(self, unit: Tensor, directions: int) -> Tensor:
        """Return the codes' jet `(1 + T, N, channels)` at unit-cube points `(N, D)`."""
        global_jet = jets.constant(self.global_code, len(unit), directions)
        if self.local is None:
            return global_jet
        return torch.cat([global_jet, self.local.jet(unit, directions)], dim=-1)
