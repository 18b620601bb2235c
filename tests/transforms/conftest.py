"""A smooth map whose Jacobian is known."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nephi.transforms import Transform


class Waves(Transform):
    """`phi(x) = x + strength * sin(W x)`: without folds below a strength of 1, since the rows of W add up to 1/mm."""

    def __init__(self, dimension: int, strength: float) -> None:
        self.strength = strength
        self.waves = torch.tensor([[0.5, 0.3, -0.2], [-0.1, 0.6, 0.3], [0.2, -0.2, 0.6]])[:dimension, :dimension]

    @property
    def dimension(self) -> int:
        return len(self.waves)

    def __call__(self, points: Tensor) -> Tensor:
        return points + self.strength * torch.sin(points @ self.waves.T.to(points))

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        waves = self.waves.to(points)
        slopes = self.strength * torch.cos(points @ waves.T).unsqueeze(-1) * waves
        return self(points), torch.eye(self.dimension).to(points) + slopes


@pytest.fixture(scope="session")
def waves() -> Callable[[int, float], Waves]:
    return Waves


class SmoothWaves(Waves):
    """Waves that declare their Jacobian continuous."""

    @property
    def has_continuous_jacobian(self) -> bool:
        return True


@pytest.fixture(scope="session")
def smooth_waves() -> Callable[[int, float], SmoothWaves]:
    return SmoothWaves


@pytest.fixture(scope="session")
def matrix() -> Callable[[int, int], Tensor]:
    """Draw a homogeneous matrix (dimension, seed) that turns, stretches, shears and shifts; well conditioned."""

    def draw(dimension: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        result = torch.eye(dimension + 1, dtype=torch.float64)
        result[:-1] += 0.3 * torch.rand(dimension, dimension + 1, generator=generator, dtype=torch.float64)
        result[:-1, -1] *= 100
        return result

    return draw


@pytest.fixture(scope="session")
def points(dimension: int) -> Tensor:
    generator = torch.Generator().manual_seed(11)
    return 30 * torch.randn(40, dimension, generator=generator, dtype=torch.float64)


def autograd_jacobian(transform: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Return `(N, D, D)` by backward passes through `transform(points)`."""
    points = points.clone().requires_grad_()
    rows = [torch.autograd.grad(column.sum(), points, retain_graph=True)[0] for column in transform(points).unbind(-1)]
    return torch.stack(rows, dim=-2)


@pytest.fixture(scope="session")
def by_autograd() -> Callable[..., Tensor]:
    return autograd_jacobian
