"""Test that planes are orthogonal to the world axes and radiological, whatever the direction of the voxel axes."""

import pytest
import torch

from nephi.geometry import Grid, interpolate_nearest
from nephi.report.planes import BLOCK, FINEST, plane_through, planes_of

SIDE = 24


def test_3d_has_three_views_and_2d_one(grids: dict[int, Grid]) -> None:
    assert [p.view.name for p in planes_of(grids[3], SIDE, 4)] == ["axial", "coronal", "sagittal"]
    assert [p.view.name for p in planes_of(grids[2], SIDE, 4)] == ["plane"]
    assert planes_of(grids[2], SIDE, 4)[0].positions == (0.0,)


def test_letters_are_radiological(grids: dict[int, Grid]) -> None:
    axial, coronal, sagittal = (p.view.edges for p in planes_of(grids[3], SIDE, 4))
    assert axial == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert coronal == {"left": "R", "right": "L", "top": "S", "bottom": "I"}
    assert sagittal == {"left": "A", "right": "P", "top": "S", "bottom": "I"}


def test_letters_agree_with_world_coordinates(grid: Grid) -> None:
    """From the centre of a picture towards an edge, the world coordinate changes in the direction of its letter."""
    towards = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    for planes in planes_of(grid, SIDE, 4):
        points = planes.points(len(planes.positions) // 2)
        row, column = planes.height // 2, planes.width // 2
        steps = {"left": (0, -1), "right": (0, 1), "top": (-1, 0), "bottom": (1, 0)}
        for edge, (down, right) in steps.items():
            axis, sign = towards[planes.view.edges[edge]]
            step = points[row + down, column + right] - points[row, column]
            expected = torch.zeros(grid.dimension)
            expected[axis] = sign * planes.pixel
            torch.testing.assert_close(step, expected, atol=1e-4, rtol=0)


def test_planes_cover_the_whole_grid(grid: Grid) -> None:
    corners = grid.corners_world()
    for planes in planes_of(grid, SIDE, 4):
        pixels = planes.pixels(corners)
        assert bool((pixels >= -0.5).all())
        assert bool((pixels <= torch.tensor([planes.width, planes.height]) - 0.5).all())
        assert planes.width % BLOCK == planes.height % BLOCK == 0
        if planes.view.normal is not None:
            heights = corners[:, planes.view.normal]
            low, high = heights.min() - grid.spacing.max(), heights.max() + grid.spacing.max()
            assert low < planes.positions[0] < planes.positions[-1] < high


def test_pixels_is_the_inverse_of_points(grid: Grid) -> None:
    for planes in planes_of(grid, SIDE, 4):
        for index in range(len(planes.positions)):
            points = planes.points(index)
            assert points.shape == (planes.height, planes.width, grid.dimension)
            rows, columns = torch.meshgrid(torch.arange(planes.height), torch.arange(planes.width), indexing="ij")
            expected = torch.stack([columns, rows], dim=-1).float()
            torch.testing.assert_close(planes.pixels(points), expected, atol=1e-3, rtol=0)
            assert bool((planes.nearest(points) == index).all())


def test_a_bright_voxel_appears_at_its_world_position(grid: Grid) -> None:
    """One voxel near a corner of an oblique or left-handed grid."""
    data = torch.zeros(grid.shape)
    data[(1,) * grid.dimension] = 1
    position = grid.voxel_to_world_points(torch.ones(grid.dimension).double())
    for planes in plane_through(grid, 120, position):
        points = planes.points(0)
        voxels = grid.world_to_voxel_points(points)
        bright = (interpolate_nearest(data, voxels) > 0) & grid.contains_voxel_points(voxels)
        pixels = bright.nonzero().double()
        assert len(pixels) > 0
        torch.testing.assert_close(pixels.mean(dim=0).flip(0), planes.pixels(position), atol=1.0, rtol=0)


def test_planes_are_no_finer_than_voxels_and_pixels_at_most_eight_times_finer() -> None:
    grid = Grid.from_spacing((10, 12, 3), (1.0, 1.0, 4.0))
    planes = planes_of(grid, 500, 50)
    assert {p.pixel for p in planes} == {1.0 / FINEST}
    assert {p.pixel for p in planes_of(grid, 24, 50)} == {0.5}
    assert [len(p.positions) for p in planes] == [12, 12, 10]  # 12 mm along z, at the finest spacing
    assert planes[1].positions[0] == pytest.approx(0.0)


def test_a_single_slice_has_planes() -> None:
    for planes in planes_of(Grid.from_spacing((9, 7, 1), (1.0, 1.0, 1.0)), 100, 20):
        assert planes.points(0).shape[-1] == 3
    assert planes_of(Grid.from_spacing((9, 7, 1), (1.0, 1.0, 1.0)), 100, 20)[0].positions == (0.0,)
