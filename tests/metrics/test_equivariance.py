"""The distance between predictions for warped images and warped predictions, for maps known in closed form."""

import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.metrics import equivariance_error
from nephi.transforms import AffineMaps, ComposedMaps

PAIRS = 3


def box(dimension: int) -> Grid:
    affine = torch.eye(dimension + 1, dtype=torch.float64)
    affine[:-1, :-1] = torch.tensor([[-2.0, 0.3, 0.0], [0.1, 1.5, 0.2], [0.0, -0.4, 2.5]])[:dimension, :dimension]
    return Grid((19, 14, 11)[:dimension], affine)


def affine(dimension: int, seed: int, spread: float = 0.03) -> AffineMaps:
    generator = torch.Generator().manual_seed(seed)
    matrices = spread * torch.randn(PAIRS, dimension, dimension, generator=generator, dtype=torch.float64)
    translations = torch.randn(PAIRS, dimension, generator=generator, dtype=torch.float64)
    return AffineMaps(torch.eye(dimension, dtype=torch.float64) + matrices, translations)


def points_of(grid: Grid) -> Tensor:
    unit = torch.rand(PAIRS, 200, grid.dimension, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return grid.voxel_to_world_points(unit * (torch.tensor(grid.shape) - 1))


def test_equivariant_predictions_have_no_error(dimension: int) -> None:
    grid = box(dimension)
    w, u, phi = (affine(dimension, seed) for seed in (1, 2, 3))
    warped = ComposedMaps([u, phi, w.inverse()])
    error = equivariance_error(phi, warped, w, u, points_of(grid), grid)
    assert error.shape == (PAIRS,) and float(error.max()) < 1e-12


def test_the_identity_ignores_shifts(dimension: int) -> None:
    """It is [U, U]-equivariant; for two shifts w, u the error is |u - w|."""
    grid = box(dimension)
    w, u, identity = affine(dimension, 1, 0.0), affine(dimension, 2, 0.0), affine(dimension, 3, 0.0)
    identity = AffineMaps(identity.matrices, torch.zeros_like(identity.translations))
    points = points_of(grid)
    assert float(equivariance_error(identity, identity, u, u, points, grid).max()) < 1e-12
    expected = (u.translations - w.translations).norm(dim=-1)
    torch.testing.assert_close(equivariance_error(identity, identity, w, u, points, grid), expected)


def test_only_points_that_stay_inside_count(dimension: int) -> None:
    """A shift by half of the box: the others are mapped outside; none remain beyond the whole box."""
    grid = box(dimension)
    edge = grid.voxel_to_world_vectors(torch.tensor(grid.shape, dtype=torch.float64) - 1)
    identity = AffineMaps(torch.eye(dimension).double().expand(PAIRS, -1, -1), torch.zeros(PAIRS, dimension).double())
    for fraction, inside in ((0.5, True), (1.5, False)):
        u = AffineMaps(identity.matrices, (fraction * edge).expand(PAIRS, -1))
        errors = equivariance_error(identity, identity, identity, u, points_of(grid), grid)
        assert bool(errors.isfinite().all()) == inside and bool(errors.isnan().all()) != inside
