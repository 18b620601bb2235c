"""Agreement of structures: invariance to contrast, equivariance to motion, and unrelated or distant images."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.images import Image
from nephi.optimize.structure import StructureScore
from nephi.phantoms import PhantomPair
from nephi.phantoms.grids import rotation
from nephi.preparation.pair import Pair, make_pair
from nephi.settings import ImageSettings
from nephi.transforms import AffineTransform


def pair_of(fixed: Image, moving: Image) -> Pair:
    return make_pair(fixed, moving, None, None, ImageSettings(percentiles=(0.0, 100.0)))


def score_of(pair: Pair, matrices: Tensor, seed: int = 0) -> Tensor:
    return StructureScore(pair, 4.0, 400, torch.Generator().manual_seed(seed))(matrices)


def motions(dimension: int, count: int = 5) -> Tensor:
    matrices = torch.eye(dimension + 1, dtype=torch.float64).repeat(count, 1, 1)
    for number in range(count):
        matrices[number, :-1, :-1] = rotation(*([0.1 * number] * (1 if dimension == 2 else 3)))
        matrices[number, :-1, -1] = 2.0 * number
    return matrices


def noise(grid: Grid, seed: int) -> Image:
    generator = torch.Generator().manual_seed(seed)
    return Image(torch.rand(grid.shape, generator=generator, dtype=torch.float32), grid)


def test_inverted_contrast_changes_nothing(shapes: PhantomPair) -> None:
    inverted = shapes.moving.with_data(-shapes.moving.data)
    one, other = (score_of(pair_of(shapes.fixed, m), motions(2)) for m in (shapes.moving, inverted))
    assert float((one[:, 0] - other[:, 0]).abs().max()) < 2e-3  # the windows leave out the lowest voxels
    assert float(one[0, 0]) > 0.1
    # Values exactly between two bins of a histogram may fall on the other side.
    assert float((one[:, 1] - other[:, 1]).abs().max()) < 0.06


@pytest.mark.parametrize("dimension", [2, 3])
def test_images_that_are_moved_together_agree_equally(dimension: int, grids: dict[int, Grid]) -> None:
    grid = Grid(tuple(3 * n for n in grids[dimension].shape), grids[dimension].affine)
    fixed, moving = noise(grid, 0), noise(grid, 1)
    turn = motions(dimension)[3]
    pair, matrices = pair_of(fixed, moving), motions(dimension)
    moved = pair_of(fixed, replace(moving, grid=grid.transformed(turn)))
    difference = score_of(pair, matrices) - score_of(moved, turn @ matrices)
    assert float(difference.abs().max()) < 0.01  # single precision of voxel coordinates, and borders


def test_unrelated_and_distant_images_score_nothing(shapes: PhantomPair) -> None:
    grid = shapes.fixed.grid
    unrelated = score_of(pair_of(noise(grid, 0), noise(grid, 1)), motions(2))
    assert float(unrelated.abs().max()) < 0.1
    away = motions(2)
    away[:, :-1, -1] += 1000.0
    assert torch.equal(score_of(pair_of(shapes.fixed, shapes.fixed), away), torch.zeros(5, 2, dtype=torch.float32))


def test_a_point_outside_counts_as_disagreement(shapes: PhantomPair) -> None:
    """Half of an image agrees with the whole half as much as the whole image."""
    half = shapes.fixed.grid.shape[0] // 2
    part = Image(shapes.fixed.data[:half].clone(), Grid((half, shapes.fixed.grid.shape[1]), shapes.fixed.grid.affine))
    still = motions(2, 1)
    whole, halved = (float(score_of(pair_of(shapes.fixed, m), still)[0, 0]) for m in (shapes.fixed, part))
    assert halved == pytest.approx(0.5 * whole, rel=0.2)


def test_dissimilarity_falls_along_its_gradient(shapes: PhantomPair) -> None:
    """In a moving image with a margin: no point leaves it, which would be a jump."""
    margin, grid = 12, shapes.fixed.grid
    affine = grid.affine.clone()
    affine[:-1, -1] = grid.voxel_to_world_points(torch.full((2,), -float(margin), dtype=torch.float64))
    values = torch.nn.functional.pad(shapes.fixed.data[None].float(), (margin,) * 4, mode="replicate")[0]
    moving = Image(values, Grid(tuple(values.shape), affine))
    score = StructureScore(pair_of(shapes.fixed, moving), 4.0, 400, torch.Generator().manual_seed(0))
    matrix = torch.eye(2, dtype=torch.float32)
    offset = torch.tensor([2.0, -1.0], dtype=torch.float32, requires_grad=True)
    loss = score.dissimilarity(matrix, offset)
    (gradient,) = torch.autograd.grad(loss, offset)
    with torch.no_grad():
        step = 0.05 * gradient / gradient.norm()
        ends = [float(score.dissimilarity(matrix, offset + sign * step)) for sign in (-1, 1)]
    assert (ends[1] - ends[0]) / 0.1 == pytest.approx(float(gradient.norm()), rel=0.05)
    assert float(score.dissimilarity(matrix, torch.zeros(2, dtype=torch.float32))) < ends[0] < ends[1]


def test_structure_under_a_map_is_that_under_its_matrix(shapes: PhantomPair) -> None:
    score = StructureScore(pair_of(shapes.fixed, shapes.moving), 4.0, 400, torch.Generator().manual_seed(0))
    matrices = motions(2)
    for matrix, expected in zip(matrices, score(matrices)[:, 0].tolist(), strict=True):
        assert score.under(AffineTransform(matrix)) == pytest.approx(expected, abs=1e-5)
