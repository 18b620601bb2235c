"""Test the ribbons, and the preset that is meant for them."""

import pytest
import torch

from nephi.errors import UsageError
from nephi.geometry import determinant
from nephi.images import detail_length, resample
from nephi.phantoms import ribbon_phantom


@pytest.mark.parametrize(("dimension", "voxels"), [(2, 64), (3, 32)])
def test_fixed_is_the_moving_image_at_the_mapped_points(dimension: int, voxels: int) -> None:
    pair = ribbon_phantom(1, voxels, 1.5, dimension)
    warped = resample(pair.moving, pair.fixed.grid, pair.transform).data.double()
    inside = pair.fixed_mask.data > 0
    before, after = (
        torch.corrcoef(torch.stack([pair.fixed.data[inside].double(), image[inside]]))[0, 1]
        for image in (pair.moving.data.double(), warped)
    )
    assert before < 0.9 < after
    moved = pair.transform(pair.landmarks.fixed.coordinates)
    torch.testing.assert_close(moved, pair.landmarks.moving.coordinates)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_motion_does_not_fold(seed: int) -> None:
    pair = ribbon_phantom(seed, 64, 2.0, 2, amplitude=1.2)
    _, jacobians = pair.transform.value_and_jacobian(pair.fixed.grid.voxel_centres())
    assert float(determinant(jacobians).min()) > 0


def test_detail_is_that_of_the_voxels() -> None:
    """Larger images show a larger body with detail of the same size."""
    lengths = [detail_length(ribbon_phantom(0, voxels, 1.0, 2).fixed) for voxels in (64, 128)]
    assert all(2.0 < length < 3.0 for length in lengths)
    wide = detail_length(ribbon_phantom(0, 64, 3.0, 2).fixed)
    assert wide == pytest.approx(3 * lengths[0], rel=0.02)


def test_seeds_and_arguments() -> None:
    one, again, other = (ribbon_phantom(seed, 24, dimension=2) for seed in (1, 1, 2))
    assert (one.fixed.data == again.fixed.data).all() and (one.fixed.data != other.fixed.data).any()
    with pytest.raises(UsageError, match="voxels: expected at least 16, got 15"):
        ribbon_phantom(voxels=15)
    for amplitude in (-0.1, 1.3, float("nan")):
        with pytest.raises(UsageError, match=r"amplitude: expected 0 to 1\.2 voxels"):
            ribbon_phantom(voxels=16, amplitude=amplitude)
