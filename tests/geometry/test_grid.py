"""Coordinate transforms of a grid, compared with matrix products."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nephi.errors import DataError
from nephi.geometry import Grid

seeds = st.integers(0, 1000)


def random_points(seed: int, grid: Grid, count: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 100 * torch.randn(count, grid.dimension, generator=generator, dtype=torch.float64)


def every_index(grid: Grid) -> torch.Tensor:
    """Return the indices of all voxels, `(*shape, D)`, int64."""
    return torch.tensor(list(itertools.product(*map(range, grid.shape)))).reshape(*grid.shape, grid.dimension)


def moved(grid: Grid, shift: torch.Tensor) -> Grid:
    affine = grid.affine.clone()
    affine[:-1, -1] += shift
    return Grid(grid.shape, affine)


def test_voxel_to_world_is_the_homogeneous_product(grid) -> None:
    for point in random_points(0, grid):
        expected = (grid.affine @ torch.cat([point, torch.ones(1)]))[:-1]
        torch.testing.assert_close(grid.voxel_to_world_points(point), expected)


@given(seeds)
def test_round_trips_between_frames(grid, seed) -> None:
    points = random_points(seed, grid).reshape(4, 5, -1)
    torch.testing.assert_close(grid.world_to_voxel_points(grid.voxel_to_world_points(points)), points)
    torch.testing.assert_close(grid.voxel_to_world_points(grid.world_to_voxel_points(points)), points)


@given(seeds)
def test_vectors_are_differences_of_points(grid, seed) -> None:
    a, b = random_points(seed, grid), random_points(seed + 1, grid)
    to_world, to_voxel = grid.voxel_to_world_points, grid.world_to_voxel_points
    torch.testing.assert_close(grid.voxel_to_world_vectors(a - b), to_world(a) - to_world(b))
    torch.testing.assert_close(grid.world_to_voxel_vectors(a - b), to_voxel(a) - to_voxel(b))


def test_vectors_ignore_the_origin_and_points_do_not(grid) -> None:
    shift = torch.full((grid.dimension,), 40.0, dtype=torch.float64)
    other, x = moved(grid, shift), random_points(0, grid)
    assert torch.equal(other.voxel_to_world_vectors(x), grid.voxel_to_world_vectors(x))
    torch.testing.assert_close(other.world_to_voxel_vectors(x), grid.world_to_voxel_vectors(x))
    torch.testing.assert_close(other.voxel_to_world_points(x), grid.voxel_to_world_points(x) + shift)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(grid, dtype) -> None:
    x = random_points(0, grid).to(dtype)
    for method in (
        "voxel_to_world_points",
        "world_to_voxel_points",
        "voxel_to_world_vectors",
        "world_to_voxel_vectors",
    ):
        assert getattr(grid, method)(x).dtype == dtype


def test_indices_are_converted_to_float64(grid) -> None:
    index = torch.tensor([[3, 1, 2][: grid.dimension]])
    assert torch.equal(grid.voxel_to_world_points(index), grid.voxel_to_world_points(index.double()))
    assert torch.equal(grid.voxel_to_world_vectors(index), grid.voxel_to_world_vectors(index.double()))


def test_voxel_centres_are_world_positions_of_indices(grid) -> None:
    centres = grid.voxel_centres()
    assert centres.dtype == torch.float32
    torch.testing.assert_close(centres.double(), grid.voxel_to_world_points(every_index(grid)), rtol=0, atol=1e-4)
    assert torch.equal(grid.voxel_centres(1, 3), centres[..., 1:3, :])
    assert torch.equal(grid.voxel_centres(2), centres[..., 2:, :])


@given(shape=st.lists(st.integers(1, 40), min_size=2, max_size=3), points=st.integers(1, 5000))
def test_slabs_cover_the_last_axis_once_and_stay_small(shape, points) -> None:
    slabs = list(Grid.from_spacing(shape, [1.0] * len(shape)).slabs(points))
    assert [i for start, stop in slabs for i in range(start, stop)] == list(range(shape[-1]))
    slice_size = math.prod(shape[:-1])
    assert max(stop - start for start, stop in slabs) * slice_size <= max(points, slice_size)


def test_from_spacing() -> None:
    grid = Grid.from_spacing((4, 5, 6), (1.0, 2.0, 3.0), (-7.0, 8.0, 9.0))
    assert grid.voxel_to_world_points(torch.tensor([2.0, 1.0, 0.5])).tolist() == [-5.0, 10.0, 10.5]
    assert grid.origin.tolist() == [-7.0, 8.0, 9.0] and grid.spacing.tolist() == [1.0, 2.0, 3.0]
    assert torch.equal(grid.direction, torch.eye(3, dtype=torch.float64))
    assert Grid.from_spacing((4, 5), (1.0, 2.0)).origin.tolist() == [0.0, 0.0]


def test_spacing_and_direction_make_up_the_affine(grid) -> None:
    steps = torch.eye(grid.dimension, dtype=torch.float64)
    torch.testing.assert_close(grid.spacing, grid.voxel_to_world_vectors(steps).norm(dim=1))
    torch.testing.assert_close(grid.direction @ torch.diag(grid.spacing), grid.affine[:-1, :-1])
    assert grid.size == every_index(grid)[..., 0].numel()


def test_corners_and_centre(grid) -> None:
    index = every_index(grid).flatten(0, -2)
    ends = torch.tensor(grid.shape) - 1
    outermost = index[((index == 0) | (index == ends)).all(dim=1)]
    torch.testing.assert_close(grid.corners_world(), grid.voxel_to_world_points(outermost))
    torch.testing.assert_close(grid.centre_world(), grid.voxel_to_world_points(ends / 2).double(), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_half_a_voxel_of_border_belongs_to_the_grid(grid, axis) -> None:
    point = torch.ones(grid.dimension)
    for coordinate, inside in [(-0.51, False), (-0.5, True), (grid.shape[axis] - 0.5, True), (99.0, False)]:
        point[axis] = coordinate
        assert bool(grid.contains_voxel_points(point)) == inside


def test_same_as_allows_a_thousandth_of_a_voxel(grid) -> None:
    step = grid.affine[:-1, 0]
    assert grid.same_as(grid)
    assert grid.same_as(moved(grid, 0.9e-3 * step)) and not grid.same_as(moved(grid, 1.1e-3 * step))
    assert grid.same_as(moved(grid, 1.1e-3 * step), tolerance=2e-3)


def test_same_as_compares_every_corner(grid) -> None:
    stretched = grid.affine.clone()
    stretched[:-1, 1] *= 1 + 1.1e-3 / (grid.shape[1] - 1)  # the first voxel is unchanged
    assert not grid.same_as(Grid(grid.shape, stretched))
    assert not grid.same_as(Grid((grid.shape[0] + 1, *grid.shape[1:]), grid.affine))


def test_transformed_maps_every_voxel(grid) -> None:
    matrix = torch.eye(grid.dimension + 1, dtype=torch.float64)
    matrix[:-1] += 0.3 * torch.randn(matrix[:-1].shape, generator=torch.Generator().manual_seed(0))
    x = random_points(0, grid)
    expected = grid.voxel_to_world_points(x) @ matrix[:-1, :-1].T + matrix[:-1, -1]
    torch.testing.assert_close(grid.transformed(matrix).voxel_to_world_points(x), expected)


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((5,), torch.eye(2), "2 or 3 axes"),
        ((5, 5, 5, 5), torch.eye(5), "2 or 3 axes"),
        ((5, 0), torch.eye(3), "at least one voxel"),
        ((5, 5), torch.eye(4), "3x3 affine"),
        ((5, 5), torch.diag(torch.tensor([1.0, float("nan"), 1.0])), "NaN"),
        ((5, 5), torch.diag(torch.tensor([1.0, float("inf"), 1.0])), "infinite"),
        ((5, 5), torch.diag(torch.tensor([1.0, 0.0, 1.0])), "singular"),
        ((5, 5), torch.tensor([[1.0, 2.0, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]), "singular"),
        ((5, 5), torch.diag(torch.tensor([1.0, 1.0, 2.0])), "last row"),
    ],
)
def test_invalid_grids_are_refused(shape, affine, message) -> None:
    with pytest.raises(DataError, match=message):
        Grid(shape, affine)


def test_tiny_voxels_are_not_singular() -> None:
    assert Grid.from_spacing((3, 3, 3), (1e-6, 1e-6, 1e-3)).spacing.tolist() == [1e-6, 1e-6, 1e-3]


def test_divided_has_the_same_ends(grid) -> None:
    cells = (5, 9, 2)[: grid.dimension]
    finer = grid.divided(cells)
    assert finer.shape == tuple(n + 1 for n in cells)
    torch.testing.assert_close(finer.corners_world(), grid.corners_world())


def test_divided_along_an_axis_of_one_voxel() -> None:
    finer = Grid.from_spacing((3, 1), (2.0, 5.0), (1.0, 1.0)).divided((4, 2))
    assert finer.shape == (5, 3) and finer.spacing.tolist() == [1.0, 2.5] and finer.origin.tolist() == [1.0, 1.0]


def test_covering_is_the_smallest_grid_over_the_other(grid) -> None:
    lattice = grid.divided((3, 2, 4)[: grid.dimension])
    assert lattice.covering(grid).same_as(lattice)
    inner = Grid(tuple(n - 1 for n in grid.shape), grid.affine)
    for other in (inner, moved(grid, 1.7 * grid.spacing[0] * torch.ones(grid.dimension))):
        covering = lattice.covering(other)
        nodes = lattice.world_to_voxel_points(covering.corners_world())
        torch.testing.assert_close(nodes, nodes.round(), rtol=0, atol=1e-6)  # the same nodes
        corners = covering.world_to_voxel_points(other.corners_world())
        spare = torch.tensor(covering.shape) - 1 - corners.amax(dim=0)
        assert (corners > -1e-3).all() and (corners.amin(dim=0) < 1).all() and ((spare > -1e-3) & (spare < 1)).all()


def test_more_voxels_than_any_image() -> None:
    for shape in ((10**9, 10**9, 10**9), (2**32, 2**32)):  # the products overflow int64
        with pytest.raises(DataError, match=r"expected a grid of at most 2\^40 voxels, got shape"):
            Grid.from_spacing(shape, (1.0,) * len(shape))
