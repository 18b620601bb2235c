"""Test the 2-D phantom of smooth shapes."""

import pytest
import torch

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.images import Image, resample
from nephi.phantoms import shapes_phantom
from nephi.phantoms.pair import landmarks_in
from nephi.phantoms.shapes import disc_depth


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_motion_has_the_given_size_and_never_folds(seed: int) -> None:
    pair = shapes_phantom(seed, motion=10.0)
    points = pair.fixed.grid.voxel_centres()
    displaced, jacobian = pair.transform.value_and_jacobian(points)
    displacements = (displaced - points).norm(dim=-1)[pair.fixed_mask.data > 0]
    assert displacements.max() == pytest.approx(10.0, rel=0.01)
    determinants = torch.linalg.det(jacobian)
    assert 0.2 < determinants.min() < 0.9


def test_the_warped_moving_image_equals_the_fixed_image() -> None:
    pair = shapes_phantom(4, noise=0.0)
    disc = pair.fixed_mask.data > 0
    warped = resample(pair.moving, pair.fixed.grid, pair.transform)
    unregistered = resample(pair.moving, pair.fixed.grid, lambda x: x)
    error = (warped.data - pair.fixed.data)[disc].float().abs().mean()
    assert error < 6
    assert (unregistered.data - pair.fixed.data)[disc].float().abs().mean() > 10 * error


def test_grids_differ_and_contain_the_disc() -> None:
    pair = shapes_phantom(0, shape=(96, 120))
    assert pair.fixed.grid.shape == (96, 120) and pair.moving.grid.shape == (114, 106)
    assert torch.linalg.det(pair.moving.grid.affine[:2, :2]) < 0 < torch.linalg.det(pair.fixed.grid.affine[:2, :2])
    for image, mask in ((pair.fixed, pair.fixed_mask), (pair.moving, pair.moving_mask)):
        assert image.data.dtype == torch.int16 and mask.data.dtype == torch.uint8
        border = torch.ones(mask.grid.shape, dtype=torch.bool)
        border[2:-2, 2:-2] = False
        assert mask.data[border].sum() == 0
        assert image.data[mask.data > 0].float().mean() > 300
        assert image.data[mask.data == 0].float().mean() < 30


def test_seeds_noise_and_landmarks_of_shapes() -> None:
    one, again, other = shapes_phantom(1), shapes_phantom(1), shapes_phantom(2)
    assert torch.equal(one.fixed.data, again.fixed.data) and torch.equal(one.moving.data, again.moving.data)
    assert not torch.equal(one.moving.data, other.moving.data)
    background = disc_depth(one.transform(one.fixed.grid.voxel_centres())) < -5
    assert one.fixed.data[background].float().std() == pytest.approx(10.0, rel=0.05)
    pairs = one.landmarks
    assert len(pairs) == 200
    assert torch.equal(one.transform(pairs.fixed.coordinates), pairs.moving.coordinates)
    voxel = one.fixed_mask.grid.world_to_voxel_points(pairs.fixed.coordinates).round().long()
    assert bool((one.fixed_mask.data[tuple(voxel.T)] > 0).all())


def test_given_grids_are_used() -> None:
    grid = Grid.from_spacing((40, 50), (4.0, 3.0), (-78.0, -73.0))
    pair = shapes_phantom(0, fixed_grid=grid, moving_grid=grid)
    assert pair.fixed.grid is grid and pair.moving_mask.grid is grid


@pytest.mark.parametrize("arguments", [{"motion": -1.0}, {"motion": 60.0}, {"noise": -1.0}])
def test_arguments_out_of_range_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(arguments))}: expected"):
        shapes_phantom(**arguments)


def test_landmarks_in_an_empty_mask_are_refused() -> None:
    pair = shapes_phantom(0, shape=(16, 16))
    empty = Image(torch.zeros(4, 4, dtype=torch.uint8), Grid.from_spacing((4, 4), (1.0, 1.0)), name="empty mask")
    with pytest.raises(DataError, match="empty mask"):
        landmarks_in(empty, pair.transform, 3, torch.Generator().manual_seed(0))
