"""Fields that start as a known deformation."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.fields import FieldSettings, build_fields
from nephi.fields.from_maps import fields_from_maps
from nephi.geometry import Grid, determinant
from nephi.transforms import AffineTransform


@pytest.fixture(params=[2, 3])
def grid(request: pytest.FixtureRequest) -> Grid:
    d = request.param
    affine = torch.eye(d + 1, dtype=torch.float64)
    affine[:-1, :-1] = torch.tensor([[-2.0, 0.3, 0.0], [0.1, 1.5, 0.2], [0.0, -0.4, 2.5]])[:d, :d]
    affine[:-1, -1] = torch.tensor([40.0, -10.0, 7.0])[:d]
    return Grid((19, 14, 11)[:d], affine)


SETTINGS = FieldSettings(spacings=(20.0, 6.0), channels=4, hidden=16, amplitude=3.0)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


INTERPOLATIONS = pytest.mark.parametrize("interpolation", ["linear", "quadratic", "cubic"])


@INTERPOLATIONS
@pytest.mark.parametrize("unit", ["mm", "edge"])
def test_an_affine_map_is_kept(grid: Grid, unit: str, interpolation: str) -> None:
    """It is linear between nodes as well, so that the field equals it at every point inside."""
    d = grid.dimension
    matrix = torch.eye(d + 1, dtype=torch.float64)
    matrix[:-1] += 0.1 * torch.randn(d, d + 1, generator=generator(), dtype=torch.float64)
    affine = AffineTransform(matrix)
    amplitude = 0.2 if unit == "edge" else 3.0
    settings = replace(SETTINGS, interpolation=interpolation, amplitude_unit=unit, amplitude=amplitude)
    fields = fields_from_maps(settings, grid, affine, affine.inverse(), generator())
    fractions = torch.rand(200, d, generator=generator(), dtype=torch.float64)
    points = grid.voxel_to_world_points(fractions * (torch.tensor(grid.shape) - 1)).float()
    for field, known in ((fields.forward_field, affine), (fields.inverse_field, affine.inverse())):
        torch.testing.assert_close(field(points), known(points), rtol=0, atol=2e-3)
        jacobian = field.value_and_jacobian(points)[1]
        torch.testing.assert_close(jacobian, known.value_and_jacobian(points)[1].float(), rtol=0, atol=2e-3)


@INTERPOLATIONS
def test_jacobians_of_a_quadratic_map_carry_no_grid(grid: Grid, interpolation: str) -> None:
    """Splines reproduce the map and its Jacobian everywhere; linear fields have Jacobians of steps."""
    d = grid.dimension
    bends = 4e-3 * torch.randn(d, d, d, generator=generator(), dtype=torch.float64)
    bends = bends + bends.mT  # of phi(x) = x + x^T bends x / 2

    def phi(x: Tensor) -> Tensor:
        return x + torch.einsum("nj,ijk,nk->ni", x.double(), bends, x.double()).to(x.dtype) / 2

    settings = replace(SETTINGS, interpolation=interpolation)
    field = fields_from_maps(settings, grid, phi, phi, generator()).forward_field.double()
    fractions = torch.rand(500, d, generator=generator(), dtype=torch.float64)
    points = grid.voxel_to_world_points(fractions * (torch.tensor(grid.shape) - 1))
    value, jacobian = field.value_and_jacobian(points)
    expected = torch.eye(d, dtype=torch.float64) + torch.einsum("ijk,nk->nij", bends, points)
    errors = (value - phi(points)).abs().max(), (determinant(jacobian) - determinant(expected)).abs().max()
    if interpolation == "linear":
        assert errors[1] > 0.02
    else:
        assert errors[0] < 1e-4 and errors[1] < 1e-4


def test_every_parameter_can_be_fitted(grid: Grid) -> None:
    """In two steps: fresh last layers are zero, so the gradient first reaches these, then the layers before."""
    fields = fields_from_maps(SETTINGS, grid, lambda x: x + 1, lambda x: x - 1, generator())
    fresh = build_fields(SETTINGS, grid, generator())
    points = grid.voxel_centres().float().reshape(-1, grid.dimension)
    (fields.forward_field(points) ** 2).sum().backward()
    last = fields.forward_field.decoder.last.weight
    assert bool((last.grad != 0).all())
    kept = 2 * grid.dimension
    torch.testing.assert_close(
        fields.forward_field.decoder.hidden[0].weight[kept:], fresh.forward_field.decoder.hidden[0].weight[kept:]
    )


@pytest.mark.parametrize(
    "change",
    [{"inverse": False}, {"encoding": "fourier"}, {"global_codes": 2}, {"channels": 1}, {"hidden": 4}, {"layers": 2}],
)
def test_unsuitable_settings_are_refused(grid: Grid, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="field: expected dense grids of"):
        fields_from_maps(replace(SETTINGS, **change), grid, lambda x: x, lambda x: x, generator())
