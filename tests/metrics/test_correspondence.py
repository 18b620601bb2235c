"""Structures find their counterparts under the true map, whatever the contrast, and not under another one."""

from __future__ import annotations

import math

import pytest
import torch

from nephi.geometry import Grid
from nephi.images import Image, ImageSampler
from nephi.metrics import Correspondence, StructuredPatches
from nephi.phantoms.waves import PlaneWaves
from nephi.sampling import GridPoints
from nephi.transforms import AffineTransform

SPACING = 2.0


def textured(grid: Grid, shift: float = 0.0, seed: int = 0) -> Image:
    """A texture with structures of a few samples, moved along the first world axis by `shift` mm."""
    generator = torch.Generator().manual_seed(seed)
    waves = PlaneWaves.random(30, 1, grid.dimension, (10.0, 25.0), generator)
    points = grid.voxel_centres()
    points[..., 0] -= shift
    values = waves(points.reshape(-1, grid.dimension))[:, 0].reshape(grid.shape)
    return Image(0.5 + 0.2 * values, grid)


def fine(grid: Grid) -> Grid:
    """The same orientation with enough voxels for structures."""
    scale = torch.tensor([*(1.3 / grid.spacing).tolist(), 1.0], dtype=torch.float64)
    return Grid((36, 32, 28)[: grid.dimension], grid.affine * scale)


def shifted(grid: Grid, shift: float) -> AffineTransform:
    offset = torch.zeros(grid.dimension, dtype=torch.float64)
    offset[0] = shift
    return AffineTransform.translation(offset)


def compare(fixed: Image, moving: Image, transform: AffineTransform) -> Correspondence:
    patches = StructuredPatches(ImageSampler(fixed), GridPoints(fixed.grid), SPACING, torch.Generator().manual_seed(0))
    return patches.under(transform, ImageSampler(moving))


def test_structures_match_under_the_true_map_only(grid: Grid) -> None:
    grid = fine(grid)
    fixed, moving = textured(grid), textured(grid, shift=5.0)
    right = compare(fixed, moving, shifted(grid, 5.0))
    assert right.matched > 0.95 and right.correlation > 0.9 and 100 < right.patches <= 400
    wrong = compare(fixed, moving, shifted(grid, 0.0))
    assert wrong.matched < 0.4
    unrelated = compare(fixed, textured(grid, seed=1), shifted(grid, 0.0))
    assert unrelated.matched < 0.2 and unrelated.correlation < 0.3


def test_the_contrast_does_not_matter(grid: Grid) -> None:
    """A squared correlation is the same for inverted and scaled intensities, up to the floor of flat patches."""
    grid = fine(grid)
    fixed, moving = textured(grid), textured(grid, shift=5.0)
    inverted = moving.with_data(2 - 1.5 * moving.data)
    same, other = (compare(fixed, image, shifted(grid, 5.0)) for image in (moving, inverted))
    assert other.matched == pytest.approx(same.matched, abs=0.02)
    assert other.correlation == pytest.approx(same.correlation, abs=0.05)


def test_first_order_patches_follow_a_turn(grid_2d: Grid) -> None:
    """The moving image is the fixed one turned by 40 degrees: patches without the Jacobian would not match."""
    grid = fine(grid_2d)
    turn, centre = math.radians(40), grid.centre_world()
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[:2, :2] = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    matrix[:2, 2] = centre - matrix[:2, :2] @ centre
    moving = textured(grid)
    turned = moving.with_grid(moving.grid.transformed(matrix))
    assert compare(moving, turned, AffineTransform(matrix)).matched > 0.95


def test_images_without_structure_or_overlap(grid_2d: Grid) -> None:
    grid = fine(grid_2d)
    flat = Image(torch.full(grid.shape, 0.3, dtype=torch.float32), grid)
    found = compare(flat, textured(grid), shifted(grid, 0.0))
    assert found.patches == 0 and math.isnan(found.matched)
    found = compare(textured(grid), textured(grid), shifted(grid, 1e4))
    assert found.patches == 0 and math.isnan(found.correlation)
