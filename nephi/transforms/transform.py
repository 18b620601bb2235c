"""The interface of all deformations, and the types of points that they accept."""

from __future__ import annotations

import abc
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import Grid, full_precision


class Transform(abc.ABC):
    """A function from world points to world points (mm, RAS), with its Jacobian.

    A registration's transform maps **fixed points to moving points**; its inverse maps moving to fixed.
    Points have shape `(..., D)` and any real type; results keep their dtype and device. Half precision is computed in
    float32, whole numbers count as float64 (`any_real_points`).
    """

    def __repr__(self) -> str:
        """Return kind and dimension in one line."""
        return f"{type(self).__name__}({self.dimension}-D)"

    @property
    @abc.abstractmethod
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""

    @property
    def cells(self) -> Grid | None:
        """The grid between whose planes the transform is smooth; None for transforms without such a grid.

        The error of linear interpolation decreases with the square of the node spacing if nodes lie on all of these
        planes, otherwise only in proportion to the spacing.
        """
        return None

    @property
    def has_continuous_jacobian(self) -> bool:
        """Whether the Jacobian is known to be continuous: linear interpolation then converges on any grid."""
        return False

    @property
    def unfolded_sign(self) -> int:
        """The sign of det J where the transform does not fold: 1, or -1 for one that reflects by intention.

        Folding and determinants are given relative to this sign; any other transform that reflects folds everywhere.
        """
        return 1

    @property
    def is_iterative(self) -> bool:
        """Whether values are computed iteratively, so that `solve_from` uses its initial guess."""
        return False

    def solve_from(self, points: Tensor, guess: Tensor) -> Tensor:
        """Return the values at points `(..., D)`, in mm; an iterative transform starts at `guess` `(..., D)`."""
        return self(points)

    @abc.abstractmethod
    def __call__(self, points: Tensor) -> Tensor:
        """Return the values at points `(..., D)`, in mm."""

    @abc.abstractmethod
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values, and `jacobian[..., i, j] = d phi_i / d x_j` of shape `(..., D, D)`."""


class HasDimension(Protocol):
    """An object with a number of coordinates."""

    @property
    def dimension(self) -> int:
        """Number of coordinates D."""


Self = TypeVar("Self", bound=HasDimension)
Result = TypeVar("Result", Tensor, tuple[Tensor, Tensor])

COMPUTED_TYPES = (torch.float32, torch.float64)


def any_real_points(method: Callable[[Self, Tensor], Result]) -> Callable[[Self, Tensor], Result]:
    """Decorate a method of points: compute half precision in float32 and round the result, integers in float64.

    In half precision a position of 200 mm is rounded to 0.1 mm by every operation, iterations do not converge, and
    torch has no solver; for integers displacements would be truncated. For the same reasons the caller's
    `torch.autocast()` is disabled inside.

    The method raises `UsageError` for anything but a tensor of real numbers `(..., D)`.
    """

    @wraps(method)
    @full_precision()
    def computed(self: Self, points: Tensor) -> Result:
        _require_points(points, self.dimension)
        if points.dtype in COMPUTED_TYPES:
            return method(self, points)
        if not points.is_floating_point():
            return method(self, points.double())
        result = method(self, points.float())
        if isinstance(result, Tensor):
            return result.to(points.dtype)
        value, jacobian = result
        return value.to(points.dtype), jacobian.to(points.dtype)

    return computed


def _require_points(points: Any, dimension: int) -> None:
    """Raise `UsageError` unless `points` is a tensor of real numbers `(..., dimension)`."""
    if not isinstance(points, Tensor):
        kind = type(points).__name__
        raise UsageError(f"points: expected a tensor (..., {dimension}), got {kind}; convert it (torch.as_tensor)")
    if points.ndim == 0 or points.shape[-1] != dimension or points.is_complex():
        numbers = "complex" if points.is_complex() else "real"
        raise UsageError(
            f"points: expected a tensor (..., {dimension}) of real numbers, coordinates along the last axis, got "
            f"{tuple(points.shape)}, {numbers}"
        )
