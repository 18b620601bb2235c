"""The distance of keypoints from known places."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from nephi.geometry import Grid
from nephi.objective import keypoint_distance


@pytest.fixture(params=[2, 3])
def grid(request: pytest.FixtureRequest) -> Grid:
    """Boxes of 32 x 24 (x 40) mm: the mean edge is 28 or 32 mm."""
    d = request.param
    return Grid.from_spacing((32, 12, 10)[:d], (1.0, 2.0, 4.0)[:d], (5.0, 6.0, 7.0)[:d])


def test_closed_form(grid: Grid) -> None:
    """`sqrt(d^2 + s^2)`, s a 128th of the mean edge, for shifts d of each image."""
    d = grid.dimension
    expected = grid.centre_world() + torch.rand(2, 4, d, dtype=torch.float64)
    shifts = torch.tensor([0.0, 3.0], dtype=torch.float64).reshape(2, 1, 1)
    softening = {2: 28.0, 3: 32.0}[d] / 128
    mean = (softening + (9 * d + softening**2) ** 0.5) / 2
    torch.testing.assert_close(float(keypoint_distance(expected + shifts, expected, grid)), mean)


def test_places_outside_of_the_box_do_not_count(grid: Grid) -> None:
    generator = torch.Generator().manual_seed(0)
    expected = grid.centre_world() + torch.randn(2, 4, grid.dimension, generator=generator, dtype=torch.float64)
    found = expected + torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    found.requires_grad_()
    kept = keypoint_distance(found[:, :3], expected[:, :3], grid)
    expected[:, 3] += 1e3
    value = keypoint_distance(found, expected, grid)
    torch.testing.assert_close(value, kept)
    (gradient,) = torch.autograd.grad(value, found)
    assert bool((gradient[:, 3] == 0).all()) and bool((gradient[:, :3] != 0).all())
    assert keypoint_distance(found, expected + 1e3, grid) == 0


def test_the_gradient_is_smooth_at_the_place_itself(grid: Grid) -> None:
    expected = (grid.centre_world() + torch.zeros(1, 2, grid.dimension, dtype=torch.float64)).contiguous()
    found = expected.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(keypoint_distance(found, expected, grid), found)
    assert bool((gradient == 0).all())
    assert gradcheck(lambda points: keypoint_distance(points, expected, grid), (expected + 0.3).requires_grad_())
