"""The interface of all deformations."""

from __future__ import annotations

import abc

from torch import Tensor

from nephi.geometry import Grid


class Transform(abc.ABC):
    """A function from world points to world points (mm, RAS), with its Jacobian.

    A registration's transform maps **fixed points to moving points**; its inverse maps moving to fixed.
    Points have shape `(..., D)` and any real type; results keep their dtype and device. Half precision is computed in
    float32, whole numbers count as float64 (`any_real_points`).
    """

    @property
    @abc.abstractmethod
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""

    @property
    def cells(self) -> Grid | None:
        """The lattice between whose planes the transform is smooth; None where there is no such lattice.

        The error of linear interpolation from nodes on all of these planes falls with the square of their distance,
        from other nodes only with the distance itself.
        """
        return None

    @property
    def is_iterative(self) -> bool:
        """Whether values are computed by an iteration, which `solve_from` can start close to its end."""
        return False

    def solve_from(self, points: Tensor, guess: Tensor) -> Tensor:
        """Return the values at points `(..., D)`, in mm; an iteration starts from `guess`, of the same shape."""
        return self(points)

    @abc.abstractmethod
    def __call__(self, points: Tensor) -> Tensor:
        """Return the values at points `(..., D)`, in mm."""

    @abc.abstractmethod
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values, and `jacobian[..., i, j] = d phi_i / d x_j` of shape `(..., D, D)`."""
