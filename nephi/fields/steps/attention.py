"""Coordinate attention as steps of a stored transform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.fields.grid_table import grid_of, grid_table
from nephi.fields.steps.step import Step, pop_tensor
from nephi.geometry import Grid
from nephi.transforms import AffineTransform, CoordinateAttention

CONTINUED_VERSION = 5  # of files: the first whose attention may turn beyond what it compares


@dataclass(frozen=True, eq=False)
class AttentionStep(Step):
    """The coordinate attention of two images' features."""

    kind: ClassVar[str] = "attention"
    transform: ClassVar[type[CoordinateAttention]] = CoordinateAttention

    attention: CoordinateAttention

    @property
    def file_version(self) -> int:
        """The first version of `.nephi` files that can hold this attention."""
        return self.version if self.attention.continuation is None else CONTINUED_VERSION

    @classmethod
    def of(cls, transform: CoordinateAttention, inverse: CoordinateAttention | None = None) -> Self:
        """Return the step of an attention."""
        return cls(transform)

    @property
    def forward(self) -> CoordinateAttention:
        """The deformation (world mm, RAS)."""
        return self.attention

    @property
    def grid(self) -> Grid:
        """The grid of the fixed image's features."""
        return self.attention.grid

    def conjugated(self, to_world: AffineTransform) -> AttentionStep:
        """Return the attention in another world: the grid and the positions of the keys are transformed."""
        return AttentionStep(self.attention.conjugated(to_world.matrix))

    def table(self) -> dict[str, Any]:
        """Return the grid, the lowest and highest voxel that are compared, and how the map continues, if it turns."""
        table = {"grid": grid_table(self.grid), "bounds": self.attention.bounds.tolist()}
        continuation = self.attention.continuation
        return table if continuation is None else table | {"continuation": continuation.tolist()}

    def tensors(self) -> dict[str, Tensor]:
        """Return features `(*shape, C)`, keys `(M, C)`, and their positions `(M, D)`, mm, RAS, in double precision."""
        attention = self.attention
        return {
            "features": attention.features.float().cpu().contiguous(),
            "keys": attention.keys.float().cpu().contiguous(),
            "positions": attention.positions.double().cpu().contiguous(),
        }

    @classmethod
    def read(cls, table: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Return the step of a file."""
        grid, bounds = grid_of(table["grid"]), torch.tensor(table["bounds"], dtype=torch.float64)
        features = pop_tensor(tensors, "features", (*grid.shape, None))
        keys, positions = pop_tensor(tensors, "keys", (None, features.shape[-1])), tensors.pop("positions")
        if positions.dtype != torch.float64:
            raise DataError(f"positions: expected float64 values, found {positions.dtype}")
        turn = table.get("continuation")
        continuation = None if turn is None else torch.tensor(turn, dtype=torch.float64)
        return cls(CoordinateAttention(features, grid, keys, positions, bounds, continuation))
