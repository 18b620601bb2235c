import pytest
import SimpleITK as sitk
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.transforms import ContinuedDisplacement, DisplacementField, invert


def random_field(grid: Grid, dtype: torch.dtype = torch.float64) -> DisplacementField:
    generator = torch.Generator().manual_seed(0)
    displacement = 3 * torch.randn(*grid.shape, grid.dimension, generator=generator, dtype=torch.float64)
    return DisplacementField(displacement.to(dtype), grid)


def points_around(grid: Grid, count: int = 80, margin: float = 1.5) -> torch.Tensor:
    """World points in the grid and up to `margin` voxels around it, none on a border between cells."""
    generator = torch.Generator().manual_seed(2)
    fractions = torch.rand(count, grid.dimension, generator=generator, dtype=torch.float64)
    voxel = fractions * (torch.tensor(grid.shape) - 1 + 2 * margin) - margin
    return grid.voxel_to_world_points(voxel.floor() + (voxel - voxel.floor()).clamp(0.05, 0.45))


def test_against_simpleitk(grid) -> None:
    """Inside, in the half voxel of border, and outside, where the displacement is 0."""
    field, points = random_field(grid), points_around(grid)
    axes = list(reversed(range(grid.dimension)))
    image = sitk.GetImageFromArray(field.displacement.permute(*axes, grid.dimension).numpy(), isVector=True)
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(grid.origin.tolist())
    image.SetDirection(grid.direction.flatten().tolist())
    theirs = sitk.DisplacementFieldTransform(image)
    expected = torch.tensor([theirs.TransformPoint(p) for p in points.tolist()], dtype=torch.float64)
    torch.testing.assert_close(field(points), expected)


def test_voxels_hold_their_displacement(grid) -> None:
    field = random_field(grid, torch.float32)
    centres = grid.voxel_centres()
    torch.testing.assert_close(field(centres) - centres, field.displacement, rtol=0, atol=2e-3)


def test_zero_outside(grid) -> None:
    field, points = random_field(grid), points_around(grid)
    outside = ~grid.contains_voxel_points(grid.world_to_voxel_points(points))
    value, jacobian = field.value_and_jacobian(points)
    assert 5 < outside.sum() < 75
    assert torch.equal(value[outside], points[outside]) and torch.equal(field(points)[outside], points[outside])
    assert (jacobian[outside] == torch.eye(grid.dimension)).all()
    assert (value[~outside] != points[~outside]).all()


def test_jacobian_is_the_central_difference(grid) -> None:
    field, points = random_field(grid), points_around(grid)
    step = 1e-4
    value, jacobian = field.value_and_jacobian(points)
    torch.testing.assert_close(value, field(points))
    for j, shift in enumerate(step * torch.eye(grid.dimension, dtype=torch.float64)):
        difference = (field(points + shift) - field(points - shift)) / (2 * step)
        torch.testing.assert_close(jacobian[..., j], difference, rtol=0, atol=1e-8)


def test_gradients_of_values_and_jacobians(grid) -> None:
    """ICON and GradICON differentiate a stored field with respect to the points."""
    field, points = random_field(grid), points_around(grid, 4, margin=-0.6).requires_grad_()
    assert torch.autograd.gradcheck(field, (points,))
    assert torch.autograd.gradcheck(field.value_and_jacobian, (points,))


def test_affine_displacement_is_exact(grid, matrix) -> None:
    m = matrix(grid.dimension)
    centres = grid.voxel_to_world_points(torch.cartesian_prod(*[torch.arange(float(n)) for n in grid.shape]).double())
    displacement = (centres @ m[:-1, :-1].T + m[:-1, -1] - centres).reshape(*grid.shape, -1)
    inside = points_around(grid, margin=0.0)
    value, jacobian = DisplacementField(displacement, grid).value_and_jacobian(inside)
    torch.testing.assert_close(value, inside @ m[:-1, :-1].T + m[:-1, -1])
    torch.testing.assert_close(jacobian, m[:-1, :-1].expand_as(jacobian))


def test_invalid_fields_are_refused(grid) -> None:
    with pytest.raises(DataError, match="has shape"):
        DisplacementField(torch.zeros(grid.shape), grid)
    displacement = torch.zeros(*grid.shape, grid.dimension)
    displacement[0, 0, ..., 0] = float("nan")
    with pytest.raises(DataError, match="NaN"):
        DisplacementField(displacement, grid)


def test_a_continued_field_keeps_its_border_value(grid) -> None:
    field, points = random_field(grid), points_around(grid)
    continued = ContinuedDisplacement(field.displacement, grid)
    inside = ((voxel := grid.world_to_voxel_points(points)) == _clamped(voxel, grid)).all(dim=-1)
    assert 5 < inside.sum() < 75
    for found, expected in zip(continued.value_and_jacobian(points), field.value_and_jacobian(points), strict=True):
        assert torch.equal(found[inside], expected[inside])
    border = grid.voxel_to_world_points(_clamped(voxel, grid))
    torch.testing.assert_close(continued(points) - points, continued(border) - border)
    step = 1e-4
    value, jacobian = continued.value_and_jacobian(points)
    torch.testing.assert_close(value, continued(points))
    for j, shift in enumerate(step * torch.eye(grid.dimension, dtype=torch.float64)):
        difference = (continued(points + shift) - continued(points - shift)) / (2 * step)
        torch.testing.assert_close(jacobian[..., j], difference, rtol=0, atol=1e-8)


def test_the_inverse_of_a_continued_field(grid) -> None:
    continued = ContinuedDisplacement(0.02 * random_field(grid).displacement, grid)
    points = points_around(grid)
    torch.testing.assert_close(continued(invert(continued)(points)), points, rtol=0, atol=1e-3)


def _clamped(voxel: torch.Tensor, grid: Grid) -> torch.Tensor:
    return voxel.clamp(min=0).minimum(torch.tensor(grid.shape) - 1.0)
