"""Volumes of labels under transforms with known determinants."""

import numpy as np
import pytest
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.metrics import jacobian_image, volume_changes
from nephi.transforms import AffineTransform

EDGES = (0.7, 1.3, 2.9)


def label_map(dimension: int) -> Image:
    """Labels 2 and 9 on an oblique, sheared grid with unequal edges."""
    turn = torch.linalg.qr(torch.arange(1.0, 10.0, dtype=torch.float64).reshape(3, 3).sin())[0][:dimension, :dimension]
    affine = torch.eye(dimension + 1, dtype=torch.float64)
    affine[:-1, :-1] = turn @ torch.diag(torch.tensor(EDGES[:dimension], dtype=torch.float64))
    data = torch.zeros((7, 6, 5)[:dimension], dtype=torch.uint8)
    data[1:4, 2:4], data[5, 5] = 2, 9
    return Image(data, Grid(tuple(data.shape), affine), name="labels")


@pytest.mark.parametrize("dimension", [2, 3])
def test_an_affine_map_changes_every_volume_by_its_determinant(dimension: int) -> None:
    labels = label_map(dimension)
    matrix = torch.eye(dimension + 1, dtype=torch.float64)
    matrix[0, 0], matrix[0, 1], matrix[1, 1] = 1.5, 0.4, 0.6
    changes = volume_changes(jacobian_image(AffineTransform(matrix), labels.grid), labels)
    voxel = abs(float(torch.linalg.det(labels.grid.affine[:-1, :-1])))
    assert list(changes) == [2, 9]
    for label, change in changes.items():
        voxels = int((labels.data == label).sum())
        assert (change.voxels, change.folds) == (voxels, 0)
        assert change.before == pytest.approx(voxels * voxel)
        assert change.after == pytest.approx(0.9 * voxels * voxel)
        assert [change.mean, change.p05, change.median, change.p95] == pytest.approx([0.9] * 4)


def test_the_volume_of_a_ball_after_a_known_map(ripples) -> None:
    """`x + a sin(x)` in each axis maps a box to a box whose edges are known."""
    grid = Grid.from_spacing((40, 30, 20), (0.05, 0.07, 0.1))
    labels = Image(torch.ones(grid.shape, dtype=torch.int16), grid)
    (change,) = volume_changes(jacobian_image(ripples(3, 0.5), grid), labels).values()
    low, high = grid.voxel_to_world_points(torch.tensor([[-0.5] * 3, [n - 0.5 for n in grid.shape]]).double())
    assert change.before == pytest.approx(float((high - low).prod()))
    after = (high - low + 0.5 * (high.sin() - low.sin())).prod()
    assert change.after == pytest.approx(float(after), rel=1e-3)


def test_statistics_are_those_of_numpy() -> None:
    labels = label_map(3)
    values = torch.randn(labels.data.shape, generator=torch.Generator().manual_seed(0))
    changes = volume_changes(Image(values, labels.grid), labels)
    for label, change in changes.items():
        inside = values.numpy()[labels.data.numpy() == label]
        assert [change.p05, change.median, change.p95] == pytest.approx(np.quantile(inside, [0.05, 0.5, 0.95]))
        assert change.mean == pytest.approx(inside.mean()) and change.folds == (inside <= 0).sum() > 0


def test_memory_order_and_large_labels() -> None:
    """A map in another memory order, with the numbers of an atlas, gives the same."""
    labels = label_map(3)
    determinants = Image(torch.rand(labels.data.shape, generator=torch.Generator().manual_seed(1)), labels.grid)
    reordered = torch.where(labels.data == 9, 10**12, labels.data.long()).permute(2, 1, 0).contiguous().permute(2, 1, 0)
    expected = volume_changes(determinants, labels)
    assert list(volume_changes(determinants, labels.with_data(reordered)).values()) == list(expected.values())


def test_other_inputs_are_refused() -> None:
    labels = label_map(3)
    determinants = jacobian_image(AffineTransform.identity(3), labels.grid)
    with pytest.raises(DataError, match="found only 0"):
        volume_changes(determinants, labels.with_data(torch.zeros_like(labels.data)))
    with pytest.raises(DataError, match="another grid"):
        volume_changes(jacobian_image(AffineTransform.identity(3), Grid.from_spacing((7, 6, 5), (1.0,) * 3)), labels)
    with pytest.raises(DataError, match="fractions"):
        volume_changes(determinants, labels.with_data(labels.data.float() + 0.5))
