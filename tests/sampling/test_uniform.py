import itertools
import math

import pytest
import torch

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.sampling import GridPoints, MaskPoints, VoxelCentres, patch_offsets, window_offsets

DRAWS = 20_000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_mask(grid: Grid, fraction: float = 0.3, dtype: torch.dtype = torch.uint8) -> Image:
    inside = torch.rand(grid.shape, generator=seeded(4)) < fraction
    return Image(inside.to(dtype), grid)


def sparse_mask(grid: Grid) -> Image:
    """Three voxels in a box of thousands, two of them in its corners."""
    data = torch.zeros((30,) * grid.dimension, dtype=torch.uint8)
    data.view(-1)[[0, len(data) + 7, -1]] = 1
    return Image(data, Grid(tuple(data.shape), grid.affine))


def drawn_voxels(source, grid: Grid, count: int = DRAWS) -> torch.Tensor:
    """Voxel coordinates `(count, D)`, float64, of points drawn from a source."""
    points = source.draw(count, seeded(1))
    assert points.shape == (count, grid.dimension) and points.dtype == torch.float32
    return grid.world_to_voxel_points(points.double())


def assert_uniform(voxel: torch.Tensor, inside: torch.Tensor) -> None:
    """Check that points are uniform over the voxels inside and within each voxel, with none outside."""
    voxel = voxel.clamp(min=-0.4999).minimum(torch.tensor(inside.shape) - 0.5001)
    index = voxel.round().long()
    hit = inside[tuple(index.unbind(-1))]
    rounded = ((voxel - index).abs() > 0.4999).any(dim=-1)  # by float32, to a face between voxels
    assert (hit | rounded).all()
    voxel, index = voxel[hit], index[hit]
    counts = torch.zeros(inside.shape, dtype=torch.float64)
    counts.index_put_(tuple(index.unbind(-1)), torch.ones(len(index), dtype=torch.float64), accumulate=True)
    cells = int(inside.sum())
    expected = len(index) / cells
    chi_square = float(((counts[inside] - expected) ** 2 / expected).sum())
    assert chi_square < cells - 1 + 5 * math.sqrt(2 * cells)
    within = voxel - index
    assert within.mean(dim=0).abs().max() < 5 / math.sqrt(12 * len(index))
    assert (within.square().mean(dim=0) - 1 / 12).abs().max() < 0.003


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float32, torch.int16])
def test_mask_is_covered_uniformly(grid, dtype) -> None:
    mask = random_mask(grid, dtype=dtype)
    assert_uniform(drawn_voxels(MaskPoints(mask), grid), mask.data > 0)


def test_sparse_mask_is_covered_uniformly(grid) -> None:
    mask = sparse_mask(grid)
    assert_uniform(drawn_voxels(MaskPoints(mask), mask.grid), mask.data > 0)


def test_few_voxels_of_a_large_image_are_sampled_without_rejection() -> None:
    """Rejection would need 10^8 trials a point."""
    data = torch.zeros(300, 300, 300, dtype=torch.uint8)
    data[0, 0, 0] = data[-1, -1, -1] = 1
    points = MaskPoints(Image(data, Grid.from_spacing(data.shape, (1.0,) * 3))).draw(1000, seeded())
    assert set(points.round().abs().flatten().tolist()) == {0.0, 299.0}


def test_grid_is_covered_uniformly(grid) -> None:
    voxel = drawn_voxels(GridPoints(grid), grid)
    assert (voxel.amin(dim=0) > -0.501).all() and (voxel.amin(dim=0) < -0.49).all()
    upper = voxel.amax(dim=0) - torch.tensor(grid.shape)
    assert (upper < -0.499).all() and (upper > -0.51).all()
    assert_uniform(voxel, torch.ones(grid.shape, dtype=torch.bool))


@pytest.mark.parametrize(
    "make", [GridPoints, lambda g: MaskPoints(random_mask(g)), lambda g: MaskPoints(sparse_mask(g))]
)
def test_points_depend_only_on_the_generator(grid, make) -> None:
    generator = seeded(5)
    first, second = (make(grid).draw(50, generator) for _ in range(2))
    assert torch.equal(first, make(grid).draw(50, seeded(5)))
    assert not torch.equal(first, second) and not torch.equal(first, make(grid).draw(50, seeded(6)))
    assert make(grid).draw(0, generator).shape == (0, grid.dimension)


def test_values_of_zero_or_less_are_outside(grid) -> None:
    data = torch.full(grid.shape, -3, dtype=torch.int16)
    data[2, 1] = 7
    voxel = drawn_voxels(MaskPoints(Image(data, grid)), grid, 500)
    assert ((voxel[:, :2] - torch.tensor([2.0, 1.0])).abs() < 0.501).all()


@pytest.mark.parametrize("value", [0, -1])
def test_empty_mask_is_refused(grid, value) -> None:
    with pytest.raises(DataError, match="lung mask: expected a mask with voxels above 0, found an empty one"):
        MaskPoints(Image(torch.full(grid.shape, value, dtype=torch.int16), grid, name="lung mask"))


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_last_axis_of_patch_offsets_varies_fastest(dimension, radius) -> None:
    offsets = patch_offsets(dimension, radius, 1.5)
    steps = [1.5 * i for i in range(-radius, radius + 1)]
    assert offsets.tolist() == [list(o) for o in itertools.product(steps, repeat=dimension)]


def test_voxel_centres_are_drawn_uniformly(grid) -> None:
    mask = random_mask(grid)
    for source, inside in ((GridPoints(grid), torch.ones_like(mask.data) > 0), (MaskPoints(mask), mask.data > 0)):
        voxel = drawn_voxels(VoxelCentres(source, grid), grid)
        index = voxel.round().long()
        torch.testing.assert_close(voxel, index.double(), atol=1e-4, rtol=0)
        assert (inside[tuple(index.unbind(-1))]).float().mean() > 0.999  # float32 rounds a few to the next voxel
        counts = torch.zeros(inside.shape, dtype=torch.float64)
        counts.index_put_(tuple(index.unbind(-1)), torch.ones(DRAWS, dtype=torch.float64), accumulate=True)
        cells = int(inside.sum())
        chi_square = float(((counts[inside] - DRAWS / cells) ** 2 / (DRAWS / cells)).sum())
        assert chi_square < cells - 1 + 5 * math.sqrt(2 * cells)


def test_window_offsets_are_those_of_a_gaussian_cut_at_two_deviations() -> None:
    offsets = window_offsets((DRAWS, 4, 3), 5.0, seeded())
    assert offsets.shape == (DRAWS, 4, 3) and offsets.dtype == torch.float32
    assert float(offsets.abs().max()) <= 10.0
    assert offsets.mean(dim=(0, 1)).abs().max() < 0.08
    # Variance of a standard normal distribution cut at 2: 1 - 4 pdf(2) / (cdf(2) - cdf(-2)).
    variance = 1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(2 / math.sqrt(2))
    assert offsets.double().var(dim=(0, 1)).div(25).sub(variance).abs().max() < 0.01
    assert torch.equal(offsets, window_offsets((DRAWS, 4, 3), 5.0, seeded()))
