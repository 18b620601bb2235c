"""Positions where a search begins, and the foreground they come from."""

import pytest
import torch

from nephi.geometry import Grid
from nephi.images import Image
from nephi.optimize.start_hypotheses import find_foreground, hypotheses
from nephi.phantoms import PhantomPair, half_field_of_view, stains_phantom
from nephi.preparation.pair import make_pair
from nephi.settings import ImageSettings


@pytest.mark.parametrize("bright", [True, False])
def test_foreground_of_a_block(bright: bool, grids: dict[int, Grid]) -> None:
    grid = Grid((20, 30, 16), grids[3].affine)
    data = torch.zeros(grid.shape, dtype=torch.float32)
    data[4:9, 10:21, 5:8] = 0.6
    foreground = find_foreground(Image(data if bright else 1 - data, grid))
    expected = grid.voxel_to_world_points(torch.tensor([6.0, 15.0, 6.0], dtype=torch.float64))
    assert float((foreground.centre - expected).norm()) < 1e-6
    assert foreground.cuts == ()


def test_a_cut_block_has_its_centre_on_the_face(grids: dict[int, Grid]) -> None:
    grid = Grid((20, 30), grids[2].affine)
    data = torch.zeros(grid.shape, dtype=torch.float32)
    data[12:, 8:19] = 1.0
    (cut,) = find_foreground(Image(data, grid)).cuts
    expected = grid.voxel_to_world_points(torch.tensor([19.0, 13.0], dtype=torch.float64))
    assert float((cut - expected).norm()) < 1e-6


def test_an_image_of_one_value_has_the_centre_of_its_grid(grids: dict[int, Grid]) -> None:
    image = Image(torch.full(grids[2].shape, 0.3, dtype=torch.float32), grids[2])
    assert torch.equal(find_foreground(image).centre, grids[2].centre_world())


def test_headers_come_first_and_equal_hypotheses_once(shapes: PhantomPair) -> None:
    pair = stains_phantom(1, 50)
    same = make_pair(shapes.fixed, shapes.fixed, None, None, ImageSettings())
    assert [each.name for each in hypotheses(same, 3.0, 150.0)] == ["position"]
    other = make_pair(pair.fixed, pair.moving, None, None, ImageSettings())
    first, *others = hypotheses(other, 3.0, 150.0)
    assert first.name == "position" and torch.equal(first.fixed, first.moving)
    assert {each.name for each in others} >= {"centers", "foreground"}
    halved = half_field_of_view(pair)
    cut = make_pair(halved.fixed, halved.moving, None, None, ImageSettings())
    assert "cut" in {each.name for each in hypotheses(cut, 3.0, 150.0)}
