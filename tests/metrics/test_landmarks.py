import pytest
import torch

from nephi.geometry import PointPairs
from nephi.metrics import landmark_errors

FIXED = torch.tensor([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [0.0, 20.0, 0.0], [1.0, 1.0, 1.0], [5.0, 5.0, 5.0]])
OFFSETS = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0], [2.0, 3.0, 6.0], [0.0, 0.0, 0.0], [1.0, 2.0, 2.0]])


def test_distances_and_their_summary() -> None:
    errors = landmark_errors(lambda x: x, PointPairs.from_coordinates(FIXED, FIXED + OFFSETS))
    assert errors.before.tolist() == errors.after.tolist() == [5.0, 1.0, 7.0, 0.0, 3.0]
    assert errors.summary() == {
        "count": 5,
        "mean": pytest.approx(3.2),
        "median": 3.0,
        "p90": pytest.approx(6.2),
        "max": 7.0,
        "before": pytest.approx(3.2),
    }


def test_transform_maps_fixed_to_moving_points() -> None:
    shift = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    errors = landmark_errors(lambda x: x + shift, PointPairs.from_coordinates(FIXED, FIXED + shift))
    assert errors.after.tolist() == [0.0] * 5 and errors.before.tolist() == [1.0] * 5


def test_distances_are_not_rounded_to_voxels_or_float32() -> None:
    fixed = torch.tensor([[100.1, 200.2]], dtype=torch.float64)
    moving = fixed + torch.tensor([3e-9, 4e-9], dtype=torch.float64)
    errors = landmark_errors(lambda x: x, PointPairs.from_coordinates(fixed, moving))
    assert errors.after.item() == pytest.approx(5e-9, rel=1e-4)


def test_errors_carry_no_gradient() -> None:
    scale = torch.ones(1, dtype=torch.float64, requires_grad=True)
    assert not landmark_errors(lambda x: scale * x, PointPairs.from_coordinates(FIXED, FIXED)).after.requires_grad
