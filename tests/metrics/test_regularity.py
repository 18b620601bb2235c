import math

import pytest
import torch

from nephi.geometry import Grid
from nephi.images import Image
from nephi.metrics import Regularity, inside_mask, jacobian_image, regularity
from nephi.metrics.regularity import FoldingStatistics
from nephi.transforms import AffineTransform


def test_affine_map_has_a_constant_determinant(grid) -> None:
    matrix = torch.eye(grid.dimension + 1)
    matrix[0, 0], matrix[0, 1], matrix[1, 1] = 1.5, 0.4, 0.8
    statistics = regularity(AffineTransform(matrix), grid)
    assert statistics.folding_percent == 0 and statistics.points == grid.size
    assert statistics.smallest == pytest.approx(1.2) and statistics.sd_log_jacobian == pytest.approx(0, abs=1e-4)


def test_a_reflection_folds_at_every_voxel(grid) -> None:
    matrix = torch.eye(grid.dimension + 1)
    matrix[0, 0] = -2.0
    assert regularity(AffineTransform(matrix), grid).folding_percent == 100


@pytest.mark.parametrize("strength", [0.5, 1.7])
@pytest.mark.parametrize("masked", [False, True])
def test_statistics_equal_those_of_each_determinant(grid, ripples, strength, masked) -> None:
    mask = Image((torch.rand(grid.shape, generator=torch.Generator().manual_seed(0)) < 0.5).byte(), grid)
    chosen = mask.data.flatten().bool() if masked else torch.ones(grid.size, dtype=torch.bool)
    points = grid.voxel_centres().flatten(0, -2)[chosen].tolist()
    determinants = [math.prod(1 + strength * math.cos(c) for c in point) for point in points]
    logs = [math.log(max(d, 1e-9)) for d in determinants]
    mean = sum(logs) / len(logs)
    statistics = regularity(ripples(grid.dimension, strength), grid, mask if masked else None)
    assert statistics.points == len(points)
    assert statistics.folding_percent == pytest.approx(100 * sum(d <= 0 for d in determinants) / len(points))
    assert (statistics.folding_percent > 10) == (strength > 1)
    assert statistics.smallest == pytest.approx(min(determinants), rel=1e-3, abs=1e-4)
    assert statistics.sd_log_jacobian == pytest.approx(
        math.sqrt(sum((x - mean) ** 2 for x in logs) / len(logs)), rel=1e-3
    )


def test_result_is_independent_of_the_slabs(grid, ripples, monkeypatch) -> None:
    whole = regularity(ripples(grid.dimension, 1.7), grid)
    monkeypatch.setattr(Grid, "slabs", lambda self: ((i, i + 1) for i in range(self.shape[-1])))
    slabs = regularity(ripples(grid.dimension, 1.7), grid)
    assert vars(slabs) == pytest.approx(vars(whole), rel=1e-6)


def test_statistics_without_points_are_those_of_the_identity() -> None:
    statistics = FoldingStatistics()
    statistics.add(torch.zeros(0))
    assert statistics.result() == Regularity(0.0, 0.0, 1.0, 0)


def test_a_determinant_of_zero_counts_as_a_fold() -> None:
    statistics = FoldingStatistics()
    statistics.add(torch.tensor([1.0, 0.0, -1.0, 1.0]))
    assert statistics.result().folding_percent == 50


def test_mask_on_another_grid() -> None:
    """A voxel of 2 mm extends 1 mm to either side of its centre; beyond the last voxel no point is inside."""
    mask = Image(torch.tensor([[0, 0], [0, 1]]), Grid.from_spacing((2, 2), (2.0, 2.0)))
    points = torch.tensor([[2.0, 2.0], [1.1, 2.9], [0.9, 2.0], [2.0, 3.1], [-0.9, 0.0], [2.9, 1.1]])
    assert inside_mask(mask, points).tolist() == [True, True, False, False, False, True]
    assert inside_mask(mask, points.reshape(2, 3, 2)).shape == (2, 3)


def test_jacobian_image(grid, ripples) -> None:
    image = jacobian_image(ripples(grid.dimension, 1.7), grid)
    assert image.grid is grid and image.data.dtype == torch.float32
    expected = (1 + 1.7 * torch.cos(grid.voxel_centres())).prod(dim=-1)
    torch.testing.assert_close(image.data, expected)
