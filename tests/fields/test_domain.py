import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nephi.fields.domain import Domain, dividing_counts
from nephi.geometry import Grid


def test_corners_are_those_of_the_unit_cube(grid) -> None:
    unit, inside = Domain(grid).double().unit(grid.corners_world())
    cube = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * grid.dimension)
    torch.testing.assert_close(unit, cube.double(), rtol=0, atol=1e-5)


def test_unit_is_the_fraction_along_each_axis(grid, points_in) -> None:
    points = points_in(grid, 50)
    unit, inside = Domain(grid).double().unit(points)
    fraction = grid.world_to_voxel_points(points) / (torch.tensor(grid.shape) - 1)
    torch.testing.assert_close(unit, fraction, rtol=0, atol=1e-5)
    assert inside.all()


def test_points_outside_are_clamped_to_the_faces(grid, points_in) -> None:
    points = points_in(grid, 50, margin=2.0)
    unit, inside = Domain(grid).double().unit(points)
    fraction = grid.world_to_voxel_points(points) / (torch.tensor(grid.shape) - 1)
    torch.testing.assert_close(unit, fraction.clamp(0, 1), rtol=0, atol=1e-5)
    assert torch.equal(inside, (fraction > 0) & (fraction < 1)) and not inside.all()


def test_to_world_turns_cube_edges_into_millimetres(grid) -> None:
    domain = Domain(grid).double()
    torch.testing.assert_close(domain.to_world @ domain.to_unit, torch.eye(grid.dimension).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(domain.to_world.norm(dim=0).tolist(), list(domain.lengths))


@pytest.mark.parametrize("spacing", [0.7, 1.0, 3.0, 1000.0])
def test_lattice_nodes_are_no_farther_apart_than_the_spacing(grid, spacing) -> None:
    domain = Domain(grid)
    for nodes, length in zip(domain.lattice(spacing), domain.lengths, strict=True):
        assert nodes == max(2, math.ceil(length / spacing) + 1)
        assert length / (nodes - 1) <= spacing


def test_single_slice_is_one_voxel_thick() -> None:
    domain = Domain(Grid.from_spacing((5, 5, 1), (2.0, 2.0, 3.0)))
    assert domain.lengths == (8.0, 8.0, 3.0)
    unit, inside = domain.unit(torch.tensor([[4.0, 4.0, 0.0], [4.0, 4.0, -1.0]]))
    assert unit.tolist() == [[0.5, 0.5, 0.0]] * 2 and inside[:, 2].tolist() == [True, False]


@pytest.mark.parametrize("spacings", [(3.0, 1.5, 0.7), (0.7, 3.0, 1.1), (1000.0, 2.0), (2.0, 2.0)])
def test_the_finest_lattice_halved_holds_the_nodes_of_all(grid, spacings) -> None:
    domain = Domain(grid)
    lattices = domain.nested_lattices(spacings)
    finest = lattices[spacings.index(min(spacings))]
    for spacing, lattice in zip(spacings, lattices, strict=True):
        for nodes, alone, most in zip(lattice, domain.lattice(spacing), finest, strict=True):
            assert nodes >= alone and 2 * (most - 1) % (nodes - 1) == 0


@given(st.lists(st.integers(1, 90), min_size=1, max_size=5).map(sorted))
def test_counts_divide_twice_the_last_and_have_the_smallest_sum(least: list[int]) -> None:
    """A larger search finds no smaller sum."""
    counts = dividing_counts(least)
    assert all(2 * counts[-1] % count == 0 and count >= need for count, need in zip(counts, least, strict=True))
    for last in range(least[-1], 4 * least[-1] + 1):
        divisors = [count for count in range(1, last + 1) if 2 * last % count == 0]
        found = [min(count for count in divisors if count >= need) for need in least[:-1]]
        assert sum(counts) <= sum(found) + last


@pytest.mark.parametrize(
    ("least", "counts"),
    [
        ([4, 7, 14, 28, 55], [4, 7, 14, 28, 56]),
        ([3, 6, 12, 23, 46], [3, 6, 12, 24, 48]),
        ([5, 10, 20, 40, 60], [5, 10, 20, 40, 60]),  # 40 divides 120
        ([7], [7]),
    ],
)
def test_counts_along_an_axis(least: list[int], counts: list[int]) -> None:
    assert dividing_counts(least) == counts
