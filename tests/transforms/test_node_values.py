"""Values at nodes between which linear interpolation fits a smooth transform best."""

import pytest
import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.transforms import Composite, DisplacementField, NodeValues, Transform, displacement_slabs, invert
from nephi.transforms.node_values import fitted_slabs


class Parabola(Transform):
    """`phi(x) = x + w (x - c)^T B (x - c)`, B diagonal."""

    def __init__(self, dimension: int) -> None:
        self.bends = torch.tensor([0.02, 0.05, -0.01], dtype=torch.float64)[:dimension]

    @property
    def dimension(self) -> int:
        return len(self.bends)

    @property
    def has_continuous_jacobian(self) -> bool:
        return True

    def __call__(self, points: Tensor) -> Tensor:
        along = torch.ones(self.dimension).to(points) / self.dimension**0.5
        return points + (self.bends.to(points) * points**2).sum(dim=-1, keepdim=True) * along

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        along = torch.ones(self.dimension).to(points) / self.dimension**0.5
        slopes = along[:, None] * (2 * self.bends.to(points) * points).unsqueeze(-2)
        return self(points), torch.eye(self.dimension).to(points) + slopes


@pytest.fixture
def grid(dimension: int, matrix) -> Grid:
    """An oblique, anisotropic grid."""
    return Grid(
        (7, 6, 5)[:dimension],
        matrix(dimension) @ torch.diag(torch.tensor([*[1.0, 2.0, 1.5][:dimension], 1.0])).double(),
    )


@pytest.mark.parametrize("dimension", [2, 3])
def test_nodes_and_midpoints_of_a_parabola_deviate_equally(dimension: int) -> None:
    """The error of values h^2/8 f'' is halved: +-h^2/16 |f''|, summed over axes of one sign."""
    steps = (1.0, 2.0)[:2]
    grid = Grid.from_spacing((9, 8, 9)[:dimension], (*steps, 1.5)[:dimension])
    transform = Parabola(dimension)
    values = NodeValues(transform, grid)
    centres = grid.voxel_centres().double()
    fields = [DisplacementField(each(centres) - centres, grid) for each in (transform, values)]
    generator = torch.Generator().manual_seed(0)
    fractions = torch.rand(20_000, dimension, generator=generator, dtype=torch.float64)
    points = grid.voxel_to_world_points(1 + fractions * (torch.tensor(grid.shape) - 3))  # cells of inner nodes
    plain, fitted = ((field(points) - transform(points)).norm(dim=-1).max() for field in fields)
    expected = [
        float(b * h**2) / 4 for b, h in zip(transform.bends, grid.spacing, strict=True)
    ]  # h^2 / 8 f'', f'' = 2 b
    largest = max(sum(max(e, 0) for e in expected), -sum(min(e, 0) for e in expected))
    spread = sum(map(abs, expected))
    assert float(plain) == pytest.approx(largest, rel=0.05)
    assert float(fitted) == pytest.approx(spread / 2, rel=0.05)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("thickness", [1, 2, 3, 5])
def test_slabs_of_any_thickness_equal_the_values_at_nodes(grid: Grid, waves, dimension: int, thickness: int) -> None:
    transform, planes = waves(dimension, 0.5), grid.shape[-1]
    centres = grid.voxel_centres()
    exact = transform(centres) - centres
    slabs = [(k, min(k + thickness, planes)) for k in range(0, planes, thickness)]
    parts = list(fitted_slabs(((a, b, exact[..., a:b, :]) for a, b in slabs), grid))
    assert [a for a, _, _ in parts] == [0, *(b for _, b, _ in parts)][:-1] and parts[-1][1] == planes
    expected = NodeValues(transform, grid)(centres) - centres
    torch.testing.assert_close(torch.cat([part for _, _, part in parts], dim=-2), expected, rtol=0, atol=3e-5)
    corner = (0,) * dimension
    torch.testing.assert_close(expected[corner], exact[corner], rtol=0, atol=3e-5)


@pytest.mark.parametrize("dimension", [2, 3])
def test_displacements_of_node_values_evaluate_every_node_once(grid: Grid, waves, dimension: int) -> None:
    counted = []

    class Counted(type(waves(dimension, 0.5))):  # type: ignore[misc]
        def __call__(self, points: Tensor) -> Tensor:
            counted.append(points[..., 0].numel())
            return super().__call__(points)

    values = NodeValues(Counted(dimension, 0.5), grid)
    found = torch.cat([part for _, _, part in displacement_slabs(values, grid)], dim=-2)
    assert sum(counted) == grid.size
    centres = grid.voxel_centres()
    torch.testing.assert_close(found, values(centres) - centres, rtol=0, atol=3e-5)


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_jacobian_is_that_of_the_values(grid: Grid, waves, dimension: int, by_autograd) -> None:
    values = NodeValues(waves(dimension, 0.5), grid)
    points = grid.voxel_centres().double().reshape(-1, dimension)
    value, jacobian = values.value_and_jacobian(points)
    torch.testing.assert_close(value, values(points))
    torch.testing.assert_close(jacobian, by_autograd(values, points))


def test_composites_and_inverses_of_smooth_transforms_are_smooth(waves, smooth_waves) -> None:
    smooth, kinked = smooth_waves(3, 0.1), waves(3, 0.1)
    assert Composite([smooth, invert(smooth)]).has_continuous_jacobian
    assert not Composite([smooth, kinked]).has_continuous_jacobian and not invert(kinked).has_continuous_jacobian
