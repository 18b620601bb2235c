"""Displacements at all voxels, slab by slab: those of the transform, with fewer evaluations if it is iterative."""

import pytest
import torch
from torch import Tensor

from nephi.geometry import Grid
from nephi.transforms import AffineTransform, Composite, NumericalInverse, Transform, displacement_slabs


class Counting(NumericalInverse):
    """Count the points solved from the usual start, and the distance of the guesses from the solutions."""

    def __init__(self, transform: Transform) -> None:
        super().__init__(transform, tolerance=1e-6)
        self.afresh = 0
        self.gaps: list[Tensor] = []

    def __call__(self, points: Tensor) -> Tensor:
        self.afresh += points[..., 0].numel()
        return super().solve_from(points, points)

    def solve_from(self, points: Tensor, guess: Tensor) -> Tensor:
        found = super().solve_from(points, guess)
        self.gaps.append((guess - found).norm(dim=-1).reshape(-1))
        return found


@pytest.fixture(params=[(34, 33, 160), (33, 1, 1), (2, 5, 7), (1, 40, 3)])
def grid(request, dimension) -> Grid:
    affine = torch.eye(dimension + 1, dtype=torch.float64)
    affine[:-1, :-1] = torch.tensor([[0.1, 0.5, 0.0], [-0.6, 0.1, 0.0], [0.0, 0.0, 0.4]])[:dimension, :dimension]
    affine[:-1, -1] = torch.tensor([-3.0, 8.0, 5.0])[:dimension]
    return Grid(request.param[:dimension], affine)


def joined(transform, grid: Grid) -> Tensor:
    stops = [0]
    parts = []
    for start, stop, displacement in displacement_slabs(transform, grid):
        assert start == stops[-1] and displacement.shape == (*grid.shape[:-1], stop - start, grid.dimension)
        stops.append(stop)
        parts.append(displacement)
    assert stops[-1] == grid.shape[-1]
    return torch.cat(parts, dim=-2)


def test_displacements_of_every_slab(dimension, grid, waves, monkeypatch) -> None:
    monkeypatch.setattr(Grid, "slabs", lambda self, points=0: _slabs(self, 3))
    transform = waves(dimension, 0.5)
    points = grid.voxel_centres()
    torch.testing.assert_close(joined(transform, grid), transform(points) - points)
    shift = lambda x: x + 1.5  # noqa: E731 (any function of points will do)
    torch.testing.assert_close(joined(shift, grid), torch.full_like(points, 1.5))


@pytest.mark.parametrize("thickness", [1, 2, 3, 50])
def test_an_iteration_starts_from_interpolated_neighbours(dimension, grid, waves, thickness, monkeypatch) -> None:
    monkeypatch.setattr(Grid, "slabs", lambda self, points=0: _slabs(self, thickness))
    inverse = Counting(waves(dimension, 0.5))
    affine = AffineTransform.identity(dimension)
    found = joined(Composite([affine, inverse]), grid)
    points = grid.voxel_centres()
    torch.testing.assert_close(points + found, NumericalInverse(inverse.transform, tolerance=1e-6)(points))
    assert inverse.afresh == torch.Size([n // 2 + 1 for n in grid.shape]).numel()  # each of the thinned grid once
    gaps = torch.cat(inverse.gaps)
    assert len(gaps) == grid.size
    assert float(gaps.median()) < 0.1 * float(found.norm(dim=-1).median())


def _slabs(grid: Grid, thickness: int):
    for start in range(0, grid.shape[-1], thickness):
        yield start, min(start + thickness, grid.shape[-1])
