import pytest
import torch

from nephi.errors import DataError
from nephi.geometry import PointPairs, Points


def test_coordinates_are_float64_and_ids_count_from_zero() -> None:
    points = Points(torch.tensor([[1, 2], [3, 4]]))
    assert points.coordinates.dtype == torch.float64
    assert points.ids == ("0", "1") and points.dimension == 2 and len(points) == 2


def test_mapped_keeps_ids_and_takes_no_gradient() -> None:
    shift = torch.ones(3, dtype=torch.float64, requires_grad=True)
    moved = Points(torch.zeros(2, 3), ("apex", "base")).mapped(lambda x: x + shift)
    assert moved.ids == ("apex", "base") and moved.coordinates.tolist() == [[1.0] * 3] * 2
    assert not moved.coordinates.requires_grad


@pytest.mark.parametrize(
    ("coordinates", "ids", "complaint"),
    [
        (torch.zeros(3, 4), (), r"\(3, 4\)"),
        (torch.zeros(3), (), r"\(3,\)"),
        (torch.tensor([[0.0, float("nan")]]), (), "NaN"),
        (torch.tensor([[0.0, float("inf")]]), (), "infinite"),
        (torch.zeros(2, 3), ("a",), "2 points need as many ids, got 1"),
    ],
)
def test_impossible_points_are_refused(coordinates, ids, complaint) -> None:
    with pytest.raises(DataError, match=complaint):
        Points(coordinates, ids)


@pytest.mark.parametrize("moving", [torch.zeros(3, 3), torch.zeros(2, 2)])
def test_unequal_pairs_are_refused(moving) -> None:
    with pytest.raises(DataError, match="as many fixed as moving"):
        PointPairs.from_coordinates(torch.zeros(2, 3), moving)


def test_pairs_share_ids() -> None:
    pairs = PointPairs.from_coordinates(torch.zeros(2, 3), torch.ones(2, 3), ["a", "b"])
    assert pairs.fixed.ids == pairs.moving.ids == ("a", "b") and len(pairs) == 2
