import pytest
import torch

from nephi.errors import DataError, UsageError
from nephi.transforms import AffineTransform


def test_value_is_the_homogeneous_product(dimension, matrix, points) -> None:
    m = matrix(dimension)
    expected = [(m @ torch.cat([p, torch.ones(1)]))[:-1] for p in points]
    torch.testing.assert_close(AffineTransform(m)(points), torch.stack(expected))


def test_jacobian_is_the_matrix(dimension, matrix, points, by_autograd) -> None:
    transform = AffineTransform(matrix(dimension))
    value, jacobian = transform.value_and_jacobian(points.reshape(5, 8, -1))
    assert torch.equal(value.reshape(points.shape), transform(points))
    assert jacobian.shape == (5, 8, dimension, dimension)
    torch.testing.assert_close(jacobian.reshape(40, dimension, dimension), by_autograd(transform, points))


def test_inverse(dimension, matrix, points) -> None:
    transform = AffineTransform(matrix(dimension))
    torch.testing.assert_close(transform.inverse()(transform(points)), points)
    torch.testing.assert_close(transform.inverse().matrix @ transform.matrix, torch.eye(dimension + 1).double())
    assert transform.inverse().matrix[-1].tolist() == [0.0] * dimension + [1.0]


def test_identity_and_translation(dimension, points) -> None:
    assert torch.equal(AffineTransform.identity(dimension)(points), points)
    shift = torch.arange(dimension) + 0.5
    assert torch.equal(AffineTransform.translation(shift)(points), points + shift)
    assert AffineTransform.translation(shift).dimension == dimension


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dimension, matrix, points, dtype) -> None:
    value, jacobian = AffineTransform(matrix(dimension)).value_and_jacobian(points.to(dtype))
    assert value.dtype == jacobian.dtype == dtype


def test_tiny_units_are_not_singular() -> None:
    """For example a map to metres."""
    transform = AffineTransform(torch.diag(torch.tensor([1e-6, 1e-6, 1e-6, 1.0])))
    assert transform.inverse()(torch.ones(3)).tolist() == pytest.approx([1e6] * 3)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (torch.tensor(1.0), "3x3 or 4x4"),
        (torch.ones(4), "3x3 or 4x4"),
        (torch.eye(2), "3x3 or 4x4"),
        (torch.eye(5), "3x3 or 4x4"),
        (torch.eye(4)[:3], "3x3 or 4x4"),
        (torch.diag(torch.tensor([1.0, float("nan"), 1.0])), "NaN"),
        (torch.diag(torch.tensor([1.0, 1.0, 2.0])), "last row"),
        (torch.diag(torch.tensor([1.0, 0.0, 1.0])), "singular"),
        (torch.tensor([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 1.0]]), "singular"),
    ],
)
def test_invalid_matrices_are_refused(values, complaint) -> None:
    with pytest.raises(DataError, match=complaint):
        AffineTransform(values)


@pytest.mark.parametrize("shape", [(3,), (0, 3), (4, 5, 3), (2, 0, 3)])
def test_points_of_any_shape(shape) -> None:
    transform = AffineTransform(torch.tensor([[1.0, 2, 0, 3], [0, 1, 0, 4], [0, 0, 2, 5], [0, 0, 0, 1]]))
    points = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = points @ transform.matrix[:3, :3].float().T + transform.matrix[:3, 3].float()
    torch.testing.assert_close(transform(points), expected)


@pytest.mark.parametrize("shape", [(3, 2), (6,), (3, 4)])
def test_points_of_another_dimension_are_refused(shape) -> None:
    with pytest.raises(UsageError, match=r"expected a tensor \(\.\.\., 3\)"):
        AffineTransform.identity(3)(torch.zeros(shape))
