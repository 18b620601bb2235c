import pytest
import SimpleITK as sitk
import torch

from nephi.errors import DataError
from nephi.transforms import AffineTransform, Composite


def test_the_first_acts_first(dimension, matrix, points) -> None:
    a, b, c = (AffineTransform(matrix(dimension, seed)) for seed in range(3))
    chain = AffineTransform(c.matrix @ b.matrix @ a.matrix)
    torch.testing.assert_close(Composite([a, b, c])(points), chain(points))
    torch.testing.assert_close(Composite([a, Composite([b, c])])(points), chain(points))


def test_simpleitk_lists_transforms_in_reverse(dimension, matrix, points) -> None:
    ours = [AffineTransform(matrix(dimension, seed)) for seed in range(2)]
    theirs = sitk.CompositeTransform(dimension)
    for transform in reversed(ours):
        each = sitk.AffineTransform(dimension)
        each.SetMatrix(transform.matrix[:-1, :-1].flatten().tolist())
        each.SetTranslation(transform.matrix[:-1, -1].tolist())
        theirs.AddTransform(each)
    expected = torch.tensor([theirs.TransformPoint(p) for p in points.tolist()], dtype=torch.float64)
    torch.testing.assert_close(Composite(ours)(points), expected)


def test_chain_rule(dimension, matrix, points, waves, by_autograd) -> None:
    chain = Composite([waves(dimension, 0.5), AffineTransform(matrix(dimension)), waves(dimension, 0.8)])
    value, jacobian = chain.value_and_jacobian(points)
    assert torch.equal(value, chain(points))
    torch.testing.assert_close(jacobian, by_autograd(chain, points))


def test_other_dimensions_are_refused() -> None:
    with pytest.raises(DataError, match=r"\[2, 3\]"):
        Composite([AffineTransform.identity(2), AffineTransform.identity(3)])
    with pytest.raises(DataError, match="none"):
        Composite([])


def test_no_points() -> None:
    shift = AffineTransform.translation(torch.ones(3, dtype=torch.float64))
    values, jacobians = Composite([shift, shift]).value_and_jacobian(torch.zeros(0, 3, dtype=torch.float64))
    assert values.shape == (0, 3) and jacobians.shape == (0, 3, 3)
