"""What every deformation can be asked."""

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
        """The lattice whose planes hold every bend of the transform: it is smooth between them; None if there is none.

        Linear interpolation from nodes on all of these planes comes close to the transform with the square of their
        distance, from other nodes only with the distance itself.
        """
        return None

    @property
    def searches(self) -> bool:
        """Tell whether values are found by a search, which `near` shortens."""
        return False

    def near(self, points: Tensor, guess: Tensor) -> Tensor:
        """Return where the points `(..., D)` go, in mm; a search begins at `guess`, of the same shape."""
        return self(points)

    @abc.abstractmethod
    def __call__(self, points: Tensor) -> Tensor:
        """Return where the points `(..., D)` go, in mm."""

    @abc.abstractmethod
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the points go, and `jacobian[..., i, j] = d phi_i / d x_j` of shape `(..., D, D)`."""
