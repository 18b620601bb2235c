"""Compare streamed folding statistics with SimpleITK and numpy, for slabs of any thickness."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nephi.errors import DataError
from nephi.geometry import Grid
from nephi.images import Image
from nephi.metrics import Regularity, StreamingFoldingStatistics, field_regularity, regularity
from nephi.metrics.regularity import FoldingStatistics
from nephi.transforms import Transform


def displacement(grid: Grid) -> Tensor:
    """Random vectors, large enough to fold in places."""
    generator = torch.Generator().manual_seed(0)
    return 0.9 * torch.randn(*grid.shape, grid.dimension, generator=generator, dtype=torch.float64)


def random_mask(grid: Grid) -> Image:
    return Image((torch.rand(grid.shape, generator=torch.Generator().manual_seed(1)) < 0.4).byte(), grid)


def streamed(
    grid: Grid, field: Tensor, thicknesses: list[int], mask: Image | None = None
) -> StreamingFoldingStatistics:
    """Return statistics of the field added in slabs of these thicknesses, repeated until the field ends."""
    folding, start, end = StreamingFoldingStatistics(grid, mask), 0, grid.shape[-1]
    for thickness in itertools.cycle(thicknesses):
        stop = min(start + thickness, end)
        folding.add(field[..., start:stop, :], last=stop == end)
        start = stop
        if start == end:
            return folding
    raise AssertionError


def statistics(determinants: Tensor) -> Regularity:
    folding = FoldingStatistics()
    folding.add(determinants)
    return folding.result()


def by_simpleitk(grid: Grid, field: Tensor) -> Tensor:
    """Return determinants `grid.shape`; vectors are rotated to the voxel axes, as the filter ignores the direction."""
    axes = list(reversed(range(grid.dimension)))
    rotated = field @ grid.direction
    image = sitk.GetImageFromArray(rotated.permute(*axes, grid.dimension).numpy(), isVector=True)
    image.SetSpacing(grid.spacing.tolist())
    determinants = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image))
    return torch.from_numpy(determinants).permute(axes)


def by_numpy(grid: Grid, field: Tensor) -> Tensor:
    slopes = np.stack([np.gradient(field.numpy(), axis=a) for a in range(grid.dimension)], axis=-1)
    return torch.from_numpy(np.linalg.det(np.eye(grid.dimension) + slopes @ grid.inverse_affine[:-1, :-1].numpy()))


def assert_same(folding: Regularity, expected: Regularity) -> None:
    assert vars(folding) == pytest.approx(vars(expected), rel=1e-5, abs=1e-6)


def test_against_simpleitk_within_the_border(grid) -> None:
    """At the border the filter repeats the last voxel, which halves the slope; here it is one-sided."""
    inner = torch.zeros(grid.shape, dtype=torch.uint8)
    inner[(slice(1, -1),) * grid.dimension] = 1
    field = displacement(grid)
    expected = statistics(by_simpleitk(grid, field)[inner.bool()])
    assert 0 < expected.folding_percent < 100
    assert_same(streamed(grid, field, [2], Image(inner, grid)).inside_mask.result(), expected)


def test_against_numpy_with_the_border(grid) -> None:
    field, mask = displacement(grid), random_mask(grid)
    folding = streamed(grid, field, [2], mask)
    assert_same(folding.whole_grid.result(), statistics(by_numpy(grid, field)))
    assert_same(folding.inside_mask.result(), statistics(by_numpy(grid, field)[mask.data.bool()]))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_result_is_independent_of_slab_thickness(grid, thicknesses) -> None:
    """Slabs of a single slice included, as those of a CT of 512 x 512."""
    field, mask = displacement(grid), random_mask(grid)
    whole, slabs = (streamed(grid, field, t, mask) for t in ([grid.shape[-1]], thicknesses))
    assert slabs.whole_grid.count == grid.size
    assert_same(slabs.whole_grid.result(), whole.whole_grid.result())
    assert_same(slabs.inside_mask.result(), whole.inside_mask.result())


@pytest.mark.parametrize("thickness", [1, 2, 6])
def test_affine_field_on_a_sheared_grid(grids, thickness) -> None:
    affine = grids[3].affine.clone()
    affine[:3, 2] += 0.3 * affine[:3, 0]
    grid = Grid(grids[3].shape, affine)
    matrix = torch.tensor([[1.2, 0.1, 0.0], [0.0, 0.9, -0.2], [0.3, 0.0, 1.1]], dtype=torch.float64)
    centres = grid.voxel_centres().double()
    folding = streamed(grid, centres @ matrix.T - centres, [thickness]).whole_grid.result()
    assert folding.smallest == pytest.approx(float(torch.linalg.det(matrix)), rel=1e-4)
    assert folding.sd_log_jacobian < 1e-3 and folding.points == grid.size


def test_single_slice() -> None:
    """Along an axis of one voxel the slope is 0."""
    grid = Grid.from_spacing((5, 4, 1), (1.0, 1.0, 3.0))
    field = displacement(grid)
    flat = by_numpy(Grid.from_spacing((5, 4), (1.0, 1.0)), field[:, :, 0, :2])
    assert_same(streamed(grid, field, [1]).whole_grid.result(), statistics(flat))


def test_field_of_a_transform(ripples: Callable[[int, float], Transform], grid: Grid) -> None:
    """On a fine grid differences between voxels approach the Jacobian of the transform."""
    scale = torch.tensor([*[0.02] * grid.dimension, 1.0], dtype=torch.float64)
    fine, transform = Grid(grid.shape, grid.affine * scale), ripples(grid.dimension, 0.5)
    mask = random_mask(fine)
    found, exact = field_regularity(transform, fine, mask), regularity(transform, fine, mask)
    assert found.points == exact.points
    assert found.smallest == pytest.approx(exact.smallest, abs=0.05)
    with pytest.raises(DataError, match="is the mask empty"):
        field_regularity(transform, fine, mask.with_data(0 * mask.data))
