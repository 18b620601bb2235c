"""Points in the world, alone and in pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nephi.errors import DataError, warn

PointMap = Callable[[Tensor], Tensor]
"""Anything that takes world points `(..., D)` in mm to world points: every `Transform` is one."""


@dataclass(frozen=True, eq=False)
class Points:
    """World points (mm, RAS), `coordinates` of shape `(N, D)` float64, each with an id.

    Points without ids are numbered from 0; `has_ids` is true where ids were given.

    Raises `DataError` when the shape is not `(N, 2)` or `(N, 3)`, a value is not finite, or ids do not match.
    """

    coordinates: Tensor
    ids: tuple[str, ...] = field(default=())
    has_ids: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        coordinates = torch.as_tensor(self.coordinates, dtype=torch.float64)
        if coordinates.ndim != 2 or coordinates.shape[1] not in (2, 3):
            raise DataError(f"points must have shape (N, 2) or (N, 3), got {tuple(coordinates.shape)}")
        if not bool(torch.isfinite(coordinates).all()):
            raise DataError("points hold NaN or infinite coordinates")
        given = len(self.ids) > 0
        ids = tuple(self.ids) or tuple(str(i) for i in range(len(coordinates)))
        if len(ids) != len(coordinates):
            raise DataError(f"{len(coordinates)} points need as many ids, got {len(ids)}")
        object.__setattr__(self, "coordinates", coordinates)
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "has_ids", given)

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.coordinates.shape[1]

    def __len__(self) -> int:
        return len(self.coordinates)

    def mapped(self, transform: PointMap) -> Points:
        """Return the points where `transform` takes them, ids kept."""
        with torch.no_grad():
            return Points(transform(self.coordinates), self.ids if self.has_ids else ())


@dataclass(frozen=True, eq=False)
class PointPairs:
    """Corresponding points (landmarks) in the fixed and in the moving image, world mm, RAS.

    Where both lists have ids, points with the same id are paired, in the order of the fixed points: a `DataWarning`
    says when the moving points were listed in another order, or when no id occurs in both lists and points are paired
    by their order. Points without ids are paired by their order, and get the ids of their partners.

    Raises `DataError` when numbers or dimensions of points differ, an id occurs twice in a list, or in one list only.
    """

    fixed: Points
    moving: Points

    def __post_init__(self) -> None:
        fixed, moving = self.fixed, self.moving
        by_id = fixed.has_ids and moving.has_ids
        if fixed.dimension != moving.dimension or (len(fixed) != len(moving) and not by_id):
            raise DataError(
                f"landmark pairs need as many fixed as moving points of one dimension, got "
                f"{tuple(fixed.coordinates.shape)} and {tuple(moving.coordinates.shape)}"
            )
        if by_id:
            object.__setattr__(self, "moving", _by_id(fixed, moving))
        elif fixed.has_ids:
            object.__setattr__(self, "moving", Points(moving.coordinates, fixed.ids))
        elif moving.has_ids:
            object.__setattr__(self, "fixed", Points(fixed.coordinates, moving.ids))

    @classmethod
    def from_coordinates(cls, fixed: Tensor, moving: Tensor, ids: Sequence[str] = ()) -> PointPairs:
        """Return pairs from two `(N, D)` tensors of world mm (RAS), row by row whatever the `ids`."""
        return cls(Points(fixed, tuple(ids)), Points(moving))

    def __len__(self) -> int:
        return len(self.fixed)


def _by_id(fixed: Points, moving: Points) -> Points:
    """Return the moving points in the order of the fixed ones that have the same ids."""
    for side, points in (("fixed", fixed), ("moving", moving)):
        repeated = [name for name, count in Counter(points.ids).items() if count > 1]
        if repeated:
            raise DataError(
                f"the id {repeated[0]!r} stands for several {side} points: give each point an id of its own, "
                "or leave the ids out to pair points by their order"
            )
    if fixed.ids == moving.ids:
        return moving
    rows, known = {name: row for row, name in enumerate(moving.ids)}, set(fixed.ids)
    without = {
        "moving": [name for name in fixed.ids if name not in rows],
        "fixed": [name for name in moving.ids if name not in known],
    }
    if len(without["moving"]) == len(fixed) == len(moving):
        warn(
            f"landmarks: no id of the fixed points ({_listed(fixed.ids)}) occurs among the moving points "
            f"({_listed(moving.ids)}), so points are paired by their order; give corresponding points the same id"
        )
        return Points(moving.coordinates, fixed.ids)
    missing = [f"{_listed(names)} among the {side} points" for side, names in without.items() if names]
    if missing:
        raise DataError(
            f"landmark pairs need the same ids on both sides, missing: {'; '.join(missing)}; add or delete these points"
        )
    warn(
        "landmarks: the moving points list their ids in another order than the fixed points; points with the same id "
        "were paired"
    )
    return Points(moving.coordinates[[rows[name] for name in fixed.ids]], fixed.ids)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
