"""The affine map closest to a deformation."""

import numpy as np
import pytest
import torch

from nephi.geometry import Grid
from nephi.transforms import AffineTransform, closest_affine


def test_an_affine_map_is_its_own(grids, matrix, dimension) -> None:
    affine = AffineTransform(matrix(dimension))
    found = closest_affine(affine, grids[dimension])
    torch.testing.assert_close(found.matrix, affine.matrix, rtol=0, atol=1e-9)


def test_least_squares_over_all_voxels_of_a_small_grid(grids, waves, dimension) -> None:
    grid, wave = grids[dimension], waves(dimension, 3.0)
    found = closest_affine(wave, grid)
    x = grid.voxel_to_world_points(
        torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in grid.shape])
    ).numpy()
    ones = np.hstack([x, np.ones((len(x), 1))])
    expected, *_ = np.linalg.lstsq(ones, wave(torch.from_numpy(x)).numpy(), rcond=None)
    if max(grid.shape) < 32:  # larger grids are thinned
        np.testing.assert_allclose(found.matrix[:-1].numpy(), expected.T, atol=1e-9)


def test_a_grid_one_voxel_thick_keeps_the_identity_across() -> None:
    grid = Grid.from_spacing((9, 1, 7), (2.0, 3.0, 4.0), (50.0, -20.0, 9.0))
    turn = torch.eye(4, dtype=torch.float64)
    turn[[0, 0, 2, 2], [0, 2, 0, 2]] = torch.tensor([0.6, -0.8, 0.8, 0.6], dtype=torch.float64)
    found = closest_affine(AffineTransform(turn), grid)
    torch.testing.assert_close(found.matrix, turn, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (8, 6)])
def test_a_map_to_one_point_has_none(shape) -> None:
    """Except along axes of which the grid has one voxel."""
    grid = Grid.from_spacing(shape, (2.0, 3.0))
    found = closest_affine(lambda points: torch.full_like(points, 7.0), grid)
    assert found.matrix.isfinite().all()
    if shape == (8, 6):
        assert torch.equal(found.matrix, torch.eye(3, dtype=torch.float64))
