"""Points in the world, alone and in pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nephi.errors import DataError

PointMap = Callable[[Tensor], Tensor]
"""Anything that takes world points `(..., D)` in mm to world points: every `Transform` is one."""


@dataclass(frozen=True, eq=False)
class Points:
    """World points (mm, RAS), `coordinates` of shape `(N, D)` float64, each with an id.

    Raises `DataError` when the shape is not `(N, 2)` or `(N, 3)`, a value is not finite, or ids do not match.
    """

    coordinates: Tensor
    ids: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        coordinates = torch.as_tensor(self.coordinates, dtype=torch.float64)
        if coordinates.ndim != 2 or coordinates.shape[1] not in (2, 3):
            raise DataError(f"points must have shape (N, 2) or (N, 3), got {tuple(coordinates.shape)}")
        if not bool(torch.isfinite(coordinates).all()):
            raise DataError("points hold NaN or infinite coordinates")
        ids = tuple(self.ids) or tuple(str(i) for i in range(len(coordinates)))
        if len(ids) != len(coordinates):
            raise DataError(f"{len(coordinates)} points need as many ids, got {len(ids)}")
        object.__setattr__(self, "coordinates", coordinates)
        object.__setattr__(self, "ids", ids)

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.coordinates.shape[1]

    def __len__(self) -> int:
        return len(self.coordinates)

    def mapped(self, transform: PointMap) -> Points:
        """Return the points where `transform` takes them, ids kept."""
        with torch.no_grad():
            return Points(transform(self.coordinates), self.ids)


@dataclass(frozen=True, eq=False)
class PointPairs:
    """Corresponding points (landmarks) in the fixed and in the moving image, world mm, RAS."""

    fixed: Points
    moving: Points

    def __post_init__(self) -> None:
        if self.fixed.coordinates.shape != self.moving.coordinates.shape:
            raise DataError(
                f"landmark pairs need as many fixed as moving points of one dimension, got "
                f"{tuple(self.fixed.coordinates.shape)} and {tuple(self.moving.coordinates.shape)}"
            )

    @classmethod
    def from_coordinates(cls, fixed: Tensor, moving: Tensor, ids: Sequence[str] = ()) -> PointPairs:
        """Return pairs from two `(N, D)` tensors of world mm (RAS)."""
        return cls(Points(fixed, tuple(ids)), Points(moving, tuple(ids)))

    def __len__(self) -> int:
        return len(self.fixed)
