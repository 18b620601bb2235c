"""Points of any real type, for functions that compute in single or double precision."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import full_precision


class OfPoints(Protocol):
    """A function of points with `dimension` coordinates."""

    @property
    def dimension(self) -> int:
        """Number of coordinates D."""


Self = TypeVar("Self", bound=OfPoints)
Result = TypeVar("Result", Tensor, tuple[Tensor, Tensor])

WORKING = (torch.float32, torch.float64)


def any_real_points(method: Callable[[Self, Tensor], Result]) -> Callable[[Self, Tensor], Result]:
    """Decorate a method of points: half precision is computed in float32 and rounded at the end, integers are float64.

    In half precision itself a position of 200 mm is known to 0.1 mm after every single operation, searches do not
    converge, and torch has no solver; integers would have their displacements cut off. For the same reason
    `torch.autocast()` of the caller is off inside.

    The method raises `UsageError` for anything but a tensor of real numbers `(..., D)`.
    """

    @wraps(method)
    @full_precision()
    def computed(self: Self, points: Tensor) -> Result:
        _require_points(points, self.dimension)
        if points.dtype in WORKING:
            return method(self, points)
        if not points.is_floating_point():
            return method(self, points.double())
        found = method(self, points.float())
        if isinstance(found, Tensor):
            return found.to(points.dtype)
        value, jacobian = found
        return value.to(points.dtype), jacobian.to(points.dtype)

    return computed


def _require_points(points: Any, dimension: int) -> None:
    """Raise `UsageError` for what would otherwise be reshaped, or rejected by torch in its own words."""
    if not isinstance(points, Tensor):
        found = type(points).__name__
        raise UsageError(f"points: expected a tensor (..., {dimension}), found {found}; convert it (torch.as_tensor)")
    if points.ndim == 0 or points.shape[-1] != dimension or points.is_complex():
        numbers = "complex" if points.is_complex() else "real"
        raise UsageError(
            f"points: expected a tensor (..., {dimension}) of real numbers, coordinates along the last axis, found "
            f"{tuple(points.shape)}, {numbers}"
        )
