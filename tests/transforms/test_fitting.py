"""Lattices on which displacement fields approximate a transform between their nodes."""

import math

import pytest
import torch

from nephi.errors import DataError, UsageError
from nephi.geometry import Grid
from nephi.transforms import AffineTransform, Composite, DisplacementField, as_affine, fitting_field, invert
from nephi.transforms.fitting import MOST_NODES, field_error, interpolation_error


@pytest.fixture(params=[2, 3])
def reference(request: pytest.FixtureRequest) -> Grid:
    d = request.param
    return Grid.from_spacing((13, 11, 9)[:d], (1.0, 1.4, 0.8)[:d], (-5.0, 3.0, 20.0)[:d])


@pytest.fixture
def bent(reference: Grid) -> DisplacementField:
    """A field of nodes so far apart that the reference's are others."""
    d = reference.dimension
    lattice = reference.divided((4, 3, 2)[:d])
    generator = torch.Generator().manual_seed(0)
    return DisplacementField(torch.randn(*lattice.shape, d, generator=generator, dtype=torch.float64), lattice)


def between(grid: Grid) -> torch.Tensor:
    fractions = torch.rand(20_000, grid.dimension, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return grid.voxel_to_world_points(fractions * (torch.tensor(grid.shape) - 1))


def test_the_deviation_of_a_smooth_transform_falls_with_the_square(reference: Grid, waves) -> None:
    points = between(reference)
    grids = [reference.divided([m * (n - 1) for n in reference.shape]) for m in (1, 2, 4)]
    each = [interpolation_error(waves(reference.dimension, 0.1), grid, points) for grid in grids]
    assert each[0] / each[1] == pytest.approx(4, rel=0.15) and each[1] / each[2] == pytest.approx(4, rel=0.15)


def test_the_deviation_is_that_of_the_field_itself(reference: Grid, waves) -> None:
    transform, points = waves(reference.dimension, 0.5), between(reference)
    centres = reference.voxel_centres().double()
    field = DisplacementField(transform(centres) - centres, reference)
    expected = float((field(points) - transform(points)).norm(dim=-1).max())
    assert interpolation_error(transform, reference, points) == pytest.approx(expected, rel=1e-4)


def test_a_transform_with_kinks_needs_their_planes(reference: Grid, bent: DisplacementField) -> None:
    found = fitting_field(bent, reference, 1e-4)
    assert found.grid.same_as(bent.grid) and found.transform is bent and found.deviation < 1e-4
    assert interpolation_error(bent, reference, between(reference)) > 0.01


def test_the_smallest_sufficient_number_of_steps(reference: Grid, waves) -> None:
    transform = waves(reference.dimension, 0.5)
    wide = fitting_field(transform, reference, 1.0)
    assert wide.grid.same_as(reference)
    close = fitting_field(transform, reference, wide.deviation / 3)
    assert close.deviation <= wide.deviation / 3
    assert close.grid.shape == tuple(2 * (n - 1) + 1 for n in reference.shape)


def test_the_planes_of_a_composite_are_those_of_its_only_nonlinear_transform(bent: DisplacementField) -> None:
    d = bent.dimension
    matrix = torch.eye(d + 1, dtype=torch.float64)
    matrix[:-1] += 0.1 * torch.rand(d, d + 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    affine = AffineTransform(matrix)
    assert Composite([bent, affine, affine]).cells is bent.grid
    assert Composite([bent, bent]).cells is None
    assert affine.cells is None and invert(bent).cells is None
    cells = Composite([affine, Composite([affine, bent]), affine]).cells
    assert cells is not None
    nodes = affine(affine(cells.voxel_centres().double()))
    torch.testing.assert_close(nodes.float(), bent.grid.voxel_centres(), rtol=0, atol=1e-3)


def test_a_field_of_a_smooth_transform_has_fewer_nodes(reference: Grid, waves, smooth_waves) -> None:
    """Half the error at the same spacing: in 3-D about 2.8 times fewer nodes, and spacings without whole steps."""
    d, tolerance = reference.dimension, 0.004
    kinked = fitting_field(waves(d, 0.1), reference, tolerance)
    smooth = fitting_field(smooth_waves(d, 0.1), reference, tolerance)
    assert smooth.grid.size < kinked.grid.size / 1.5 and smooth.deviation <= tolerance
    centres = smooth.grid.voxel_centres().double()
    field = DisplacementField(smooth.transform(centres) - centres, smooth.grid)
    other_points = between(reference)
    assert float((field(other_points) - waves(d, 0.1)(other_points)).norm(dim=-1).max()) < 1.1 * tolerance


def test_a_smooth_transform_needs_no_finer_nodes_than_its_bends(reference: Grid) -> None:
    affine = AffineTransform.translation(torch.arange(1.0, reference.dimension + 1))
    assert max(fitting_field(affine, reference, 0.01).grid.shape) <= 3


def test_the_error_of_a_field_is_measured_slab_by_slab(reference: Grid, waves, monkeypatch) -> None:
    transform, points = waves(reference.dimension, 0.5), between(reference)
    planes = reference.shape[-1]
    monkeypatch.setattr(Grid, "slabs", lambda grid: ((k, min(k + 2, planes)) for k in range(0, planes, 2)))
    found = field_error(transform, reference, points, transform(points))
    assert found == pytest.approx(interpolation_error(transform, reference, points), rel=1e-4)


def test_an_error_states_the_smallest_deviation(reference: Grid, waves) -> None:
    with pytest.raises(
        DataError, match=rf"at most {MOST_NODES} nodes a voxel .* within 1e-09 mm .* deviates by \S+ mm"
    ):
        fitting_field(waves(reference.dimension, 0.5), reference, 1e-9)


def test_an_error_states_the_smallest_deviation_of_smooth_transforms(reference: Grid, smooth_waves) -> None:
    with pytest.raises(DataError, match=rf"at most {MOST_NODES} nodes a voxel .* deviates by 0\.\d+ mm"):
        fitting_field(smooth_waves(reference.dimension, 0.5), reference, 1e-9)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, math.inf, math.nan])
def test_a_tolerance_is_a_length(reference: Grid, waves, tolerance: float) -> None:
    with pytest.raises(UsageError, match="tolerance: expected millimetres above 0"):
        fitting_field(waves(reference.dimension, 0.5), reference, tolerance)


def test_a_reference_of_another_dimension_is_refused(reference: Grid, waves) -> None:
    with pytest.raises(DataError, match="reference, like the transform"):
        fitting_field(waves(5 - reference.dimension, 0.5), reference, 0.1)


def test_affine_transforms_stay_affine(grid_3d: Grid) -> None:
    """Formats for matrices can then store them."""
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[0, 1], matrix[2, 3] = 0.1, 5.0
    assert as_affine(fitting_field(AffineTransform(matrix), grid_3d, 0.1).transform) is not None
