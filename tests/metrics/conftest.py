from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nephi.transforms import Transform


class Ripples(Transform):
    """`phi(x) = x + strength * sin(x)` in each component; folds where `cos(x_i) < -1 / strength` for one axis."""

    def __init__(self, dimension: int, strength: float) -> None:
        self._dimension = dimension
        self.strength = strength

    @property
    def dimension(self) -> int:
        return self._dimension

    def __call__(self, points: Tensor) -> Tensor:
        return points + self.strength * torch.sin(points)

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return self(points), torch.diag_embed(1 + self.strength * torch.cos(points))


@pytest.fixture(scope="session")
def ripples() -> Callable[[int, float], Transform]:
    return Ripples
