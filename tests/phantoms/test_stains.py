"""Test the sections in two stains, and parts of pairs."""

import math

import pytest
import torch

from nephi.errors import UsageError
from nephi.images import resample
from nephi.phantoms import half_field_of_view, lung_phantom, stains_phantom
from nephi.phantoms.stains import GREY_LEVELS


@pytest.mark.parametrize("angle", [0.0, 65.0, 180.0])
def test_landmarks_follow_the_turn_and_the_motion(angle: float) -> None:
    pair = stains_phantom(3, angle, motion=4.0)
    turn = pair.transform.transforms[1].matrix[:2, :2]
    assert float(turn.trace() / 2) == pytest.approx(math.cos(math.radians(angle)))
    points = pair.landmarks.fixed.coordinates
    moved = pair.transform.transforms[0](points) - points
    assert 1.0 < float(moved.norm(dim=-1).max()) <= 4.04
    _, jacobians = pair.transform.value_and_jacobian(pair.fixed.grid.voxel_centres())
    assert float(torch.linalg.det(jacobians).min()) > 0.3


def test_tissues_have_other_grey_values_in_the_other_stain() -> None:
    """In tissue of one grey value in the fixed image, the moving image has one as well, in another order."""
    pair = stains_phantom(5, 120.0, noise=0.0)
    warped = resample(pair.moving, pair.fixed.grid, pair.transform).data.float()
    inside = (pair.fixed_mask.data > 0) & (resample(pair.moving_mask, pair.fixed.grid, pair.transform).data > 0)
    medians = []
    for level in GREY_LEVELS:
        tissue = inside & ((pair.fixed.data.float() - level).abs() < 40)
        medians.append(float(warped[tissue].median()))
        assert min(abs(medians[-1] - other) for other in GREY_LEVELS) < 45
    assert sorted(medians) != medians


def test_seeds_and_arguments_of_stains() -> None:
    one, again, other = stains_phantom(1), stains_phantom(1), stains_phantom(2)
    assert torch.equal(one.moving.data, again.moving.data) and not torch.equal(one.moving.data, other.moving.data)
    assert one.fixed.grid.shape != one.moving.grid.shape
    for arguments in ({"motion": 0.0}, {"noise": -1.0}, {"angle": 400.0}):
        with pytest.raises(UsageError, match=f"{next(iter(arguments))}: expected"):
            stains_phantom(**arguments)


@pytest.mark.parametrize("part", ["fixed", "moving"])
@pytest.mark.parametrize("side", ["low", "high"])
def test_half_of_the_mask_remains_at_its_place(part: str, side: str) -> None:
    whole = lung_phantom(0, 20.0, shape=(30, 24, 32))
    half = half_field_of_view(whole, part, 2, side)
    mask, before = getattr(half, f"{part}_mask"), getattr(whole, f"{part}_mask")
    assert float(mask.data.float().sum() / before.data.float().sum()) == pytest.approx(0.5, abs=0.05)
    same = resample(before, mask.grid, lambda points: points, "nearest")
    assert torch.equal(same.data.to(mask.data.dtype), mask.data)
    grid = getattr(half, part).grid
    points = getattr(half.landmarks, part).coordinates
    assert 0 < len(points) < len(whole.landmarks)
    assert bool(grid.contains_voxel_points(grid.world_to_voxel_points(points)).all())
    distance = half.transform(half.landmarks.fixed.coordinates) - half.landmarks.moving.coordinates
    assert float(distance.norm(dim=-1).max()) < 1e-9


def test_parts_that_do_not_exist_are_refused() -> None:
    pair = stains_phantom(0)
    for arguments in ({"part": "both"}, {"axis": 2}, {"side": "left"}):
        with pytest.raises(UsageError, match=f"{next(iter(arguments))}: expected"):
            half_field_of_view(pair, **arguments)
