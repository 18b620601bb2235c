"""Lattices of few points, and the foreground of images with dark and bright backgrounds."""

from __future__ import annotations

import torch

from nephi.geometry import Grid
from nephi.metrics import foreground, thinned


def test_a_thinned_grid_consists_of_voxels_around_the_same_centre(grid: Grid) -> None:
    large = Grid(tuple(11 * n + 3 for n in grid.shape), grid.affine)
    few = thinned(large, 400)
    assert 100 < few.size < 900
    offset = large.world_to_voxel_points(few.centre_world()) - large.world_to_voxel_points(large.centre_world())
    assert float(offset.abs().max()) < 0.5 + 1e-6
    voxels = large.world_to_voxel_points(few.voxel_centres())
    assert torch.allclose(voxels, voxels.round(), atol=1e-3)
    assert torch.allclose(few.direction, large.direction)
    assert bool(large.contains_voxel_points(large.world_to_voxel_points(few.corners_world())).all())
    spacing = few.spacing
    assert float(spacing.max() / spacing.min()) < 2  # although the voxels are anisotropic
    assert thinned(grid, 10_000).same_as(grid)


def test_the_foreground_is_the_class_away_from_the_border() -> None:
    x, y = torch.meshgrid(torch.arange(40), torch.arange(30), indexing="ij")
    disc = (x - 18).square() + (y - 14).square() < 90
    noise = 0.03 * torch.randn(40, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    for inside, outside in ((0.8, 0.1), (0.3, 0.9)):  # a scan; a slide
        values = torch.where(disc, inside, outside) + noise
        assert bool((foreground(values, values) == disc).all())
