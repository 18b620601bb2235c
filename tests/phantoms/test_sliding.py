import pytest
import torch

from nephi.errors import UsageError
from nephi.phantoms import sliding_phantom


@pytest.mark.parametrize("dimension", [2, 3])
def test_fixed_is_the_moving_image_at_the_mapped_points(dimension: int) -> None:
    pair = sliding_phantom(seed=1, shift=16.0, spacing=4.0, dimension=dimension, count=50)
    organ = pair.fixed.data[len(pair.fixed.data) // 2 :].float()
    there = pair.moving.data[len(pair.moving.data) // 2 :].float()
    # The organ moved by 4 voxels along the second axis; both images have their own noise of 10.
    assert float((organ[:, :-4] - there[:, 4:]).abs().mean()) < 20
    wall = slice(0, len(pair.fixed.data) // 2)
    assert float((pair.fixed.data[wall].float() - pair.moving.data[wall].float()).abs().mean()) < 20


def test_landmarks_lie_on_both_sides_and_slip_on_one() -> None:
    pair = sliding_phantom(seed=0, spacing=4.0)
    fixed, moving = pair.landmarks.fixed.coordinates, pair.landmarks.moving.coordinates
    organ = fixed[:, 0] > 0
    assert 0.2 < organ.double().mean() < 0.8
    torch.testing.assert_close((moving - fixed)[organ][:, 1], torch.full((int(organ.sum()),), 20.0).double())
    assert (moving == fixed)[~organ].all()
    voxels = pair.moving.grid.world_to_voxel_points(moving)
    assert pair.moving.grid.contains_voxel_points(voxels).all()


def test_jacobian_is_the_identity_on_both_sides() -> None:
    pair = sliding_phantom(spacing=8.0, count=5)
    points = torch.tensor([[3.0, 1.0, 2.0], [-3.0, 1.0, 2.0]], dtype=torch.float64)
    values, jacobians = pair.transform.value_and_jacobian(points)
    assert values[:, 1].tolist() == [21.0, 1.0]
    assert (jacobians == torch.eye(3, dtype=torch.float64)).all()


@pytest.mark.parametrize("shift", [-1.0, 64.0, float("nan")])
def test_shifts_beyond_the_image_are_refused(shift: float) -> None:
    with pytest.raises(UsageError, match="shift: expected 0 to less than 64 mm"):
        sliding_phantom(shift=shift)
