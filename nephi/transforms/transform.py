"""What every deformation can be asked."""

from __future__ import annotations

import abc

from torch import Tensor


class Transform(abc.ABC):
    """A function from world points to world points (mm, RAS), with its Jacobian.

    A registration's transform maps **fixed points to moving points**; its inverse maps moving to fixed.
    Points have shape `(..., D)`; results keep their dtype and device.
    """

    @property
    @abc.abstractmethod
    def dimension(self) -> int:
        """Number of coordinates D, 2 or 3."""

    @abc.abstractmethod
    def __call__(self, points: Tensor) -> Tensor:
        """Return where the points `(..., D)` go, in mm."""

    @abc.abstractmethod
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the points go, and `jacobian[..., i, j] = d phi_i / d x_j` of shape `(..., D, D)`."""
