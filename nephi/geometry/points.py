"""World points, and pairs of corresponding points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nephi.argument_types import checked, matches, shown
from nephi.errors import DataError, UsageError, warn
from nephi.geometry.real_numbers import real_numbers

PointMap = Callable[[Tensor], Tensor]
"""A function from world points `(..., D)` (mm) to world points, such as any `Transform`."""


@dataclass(frozen=True, eq=False)
class Points:
    """World points (mm, RAS): `coordinates` of shape `(N, D)` float64, and one id per point.

    The coordinates may be given as an array or a list of points. Points without ids are numbered from 0; `has_ids`
    states whether ids were given.

    Raises `DataError` when the shape is not `(N, 2)` or `(N, 3)`, a value is not finite, or ids do not match;
    `UsageError` for anything but real numbers.
    """

    coordinates: Tensor
    ids: tuple[str, ...] = field(default=())
    has_ids: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        coordinates = real_numbers(self.coordinates, "points", "(N, 2) or (N, 3)")
        if not matches(self.ids, Sequence[str]):
            raise UsageError(f"points: ids: expected a list of texts, one for each point, got {shown(self.ids)}")
        if coordinates.ndim != 2 or coordinates.shape[1] not in (2, 3):
            raise DataError(f"expected points of shape (N, 2) or (N, 3), got {tuple(coordinates.shape)}")
        if not bool(torch.isfinite(coordinates).all()):
            raise DataError("expected finite coordinates of points, found NaN or infinity")
        has_ids = len(self.ids) > 0
        ids = tuple(self.ids) or tuple(str(i) for i in range(len(coordinates)))
        if len(ids) != len(coordinates):
            raise DataError(f"expected one id for each of {len(coordinates)} points, got {len(ids)}")
        object.__setattr__(self, "coordinates", coordinates)
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "has_ids", has_ids)

    @property
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""
        return self.coordinates.shape[1]

    def __len__(self) -> int:
        return len(self.coordinates)

    def __repr__(self) -> str:
        """Return the number of points in one line."""
        return f"Points({len(self)} points, {self.dimension}-D, mm RAS)"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """Return the coordinates `(N, D)` as an array, for functions of numpy."""
        return self.coordinates.numpy().astype(dtype or "float64", copy=copy is not False)

    def mapped(self, transform: PointMap) -> Points:
        """Return the points mapped by `transform`, with the same ids."""
        with torch.no_grad():
            return Points(transform(self.coordinates), self.ids if self.has_ids else ())


@dataclass(frozen=True, eq=False)
class PointPairs:
    """Corresponding points (landmarks) in the fixed and in the moving image, world mm, RAS.

    Both may be given as arrays or lists of points.
    If both lists have ids, points with the same id are paired, in the order of the fixed points. Issues a `DataWarning`
    when the moving points have another order, and when no id is in both lists, so that points are paired by order.
    Points without ids are paired by order, and get the ids of the other list.

    Raises `DataError` when numbers or dimensions of points differ, an id is repeated in a list, or is in one list only.
    """

    fixed: Points
    moving: Points

    def __post_init__(self) -> None:
        for side in ("fixed", "moving"):
            if not isinstance(getattr(self, side), Points):
                object.__setattr__(self, side, Points(getattr(self, side)))
        fixed, moving = self.fixed, self.moving
        by_id = fixed.has_ids and moving.has_ids
        if fixed.dimension != moving.dimension or (len(fixed) != len(moving) and not by_id):
            raise DataError(
                f"expected as many fixed as moving landmarks, of one dimension, got "
                f"{tuple(fixed.coordinates.shape)} and {tuple(moving.coordinates.shape)}"
            )
        if by_id:
            object.__setattr__(self, "moving", _match_ids(fixed, moving))
        elif fixed.has_ids:
            object.__setattr__(self, "moving", Points(moving.coordinates, fixed.ids))
        elif moving.has_ids:
            object.__setattr__(self, "fixed", Points(fixed.coordinates, moving.ids))

    @classmethod
    @checked
    def from_coordinates(
        cls, fixed: Tensor | ArrayLike, moving: Tensor | ArrayLike, ids: Sequence[str] = ()
    ) -> PointPairs:
        """Return pairs of the rows of two `(N, D)` tensors or arrays of world mm (RAS), with optional `ids`."""
        return cls(Points(fixed, tuple(ids)), Points(moving))  # type: ignore[arg-type]  # converted there

    def __len__(self) -> int:
        return len(self.fixed)

    def __repr__(self) -> str:
        """Return the number of pairs in one line."""
        return f"PointPairs({len(self)} pairs, {self.fixed.dimension}-D, mm RAS)"


def _match_ids(fixed: Points, moving: Points) -> Points:
    """Return the moving points in the order of the fixed points with the same ids."""
    for side, points in (("fixed", fixed), ("moving", moving)):
        repeated = [name for name, count in Counter(points.ids).items() if count > 1]
        if repeated:
            raise DataError(
                f"expected a unique id for each of the {side} points, found several of id {repeated[0]!r}; change the "
                "ids, or delete them all to pair points by order"
            )
    if fixed.ids == moving.ids:
        return moving
    rows, fixed_ids = {name: row for row, name in enumerate(moving.ids)}, set(fixed.ids)
    missing_ids = {
        "moving": [name for name in fixed.ids if name not in rows],
        "fixed": [name for name in moving.ids if name not in fixed_ids],
    }
    if len(missing_ids["moving"]) == len(fixed) == len(moving):
        warn(
            f"landmarks: no id of the fixed points ({_join_names(fixed.ids)}) is among the moving points "
            f"({_join_names(moving.ids)}), so points are paired by order; give corresponding points the same id"
        )
        return Points(moving.coordinates, fixed.ids)
    missing = [f"{_join_names(names)} among the {side} points" for side, names in missing_ids.items() if names]
    if missing:
        raise DataError(
            f"expected the same ids of fixed and moving landmarks, missing: {'; '.join(missing)}; add or delete "
            "these points"
        )
    warn(
        "landmarks: the ids of the moving points are in another order than those of the fixed points; points with the "
        "same id were paired"
    )
    return Points(moving.coordinates[[rows[name] for name in fixed.ids]], fixed.ids)


def _join_names(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
