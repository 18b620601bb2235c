"""Compare smoothing with scipy's Gaussian filter, and test the position of coarse voxels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from nephi.geometry import Grid
from nephi.images import Image, ImageSampler, pyramid, smoothed


def with_shape(grid: Grid, shape: tuple[int, ...]) -> Grid:
    return Grid(shape[: grid.dimension], grid.affine)


def ramp(grid: Grid, slope: torch.Tensor) -> torch.Tensor:
    """Return a linear function of the world position at the voxel centres."""
    return grid.voxel_centres().double() @ slope + 3.0


def interior(image: Image, coarse: Grid, margin: float) -> torch.Tensor:
    """Return whether voxels of `coarse` are at least `margin` mm from the ends of the image, along its axes."""
    voxel = image.grid.world_to_voxel_points(coarse.voxel_centres().double())
    voxels = margin / image.grid.spacing
    return ((voxel >= voxels) & (voxel <= torch.tensor(image.grid.shape) - 1 - voxels)).all(dim=-1)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.3])
def test_against_scipy(grid, random_image, sigma) -> None:
    factors = [max(1, int(sigma / s)) for s in grid.spacing.tolist()]
    # Sizes for which coarse voxels are centred on fine ones, where scipy's result is defined.
    sizes = tuple(f * round(40 / (f * s)) + 1 for f, s in zip(factors, grid.spacing.tolist(), strict=True))
    image = random_image(with_shape(grid, sizes))
    coarse = smoothed(image, sigma)
    by_scipy = gaussian_filter(image.data.double().numpy(), [sigma / s for s in image.grid.spacing.tolist()])
    index = image.grid.world_to_voxel_points(coarse.grid.voxel_centres().double())
    torch.testing.assert_close(index, index.round(), rtol=0, atol=1e-3)
    expected = torch.from_numpy(by_scipy)[tuple(index.round().long().unbind(-1))]
    inside = interior(image, coarse.grid, 4.5 * sigma)
    assert inside.sum() > 10
    torch.testing.assert_close(coarse.data[inside].double(), expected[inside], rtol=0, atol=0.2)


@given(
    sigma=st.floats(0.1, 4.0),
    shape=st.lists(st.integers(16, 21), min_size=3, max_size=3),
    slope=st.lists(st.floats(-1, 1), min_size=3, max_size=3),
)
def test_a_linear_image_is_unchanged(grid, sigma, shape, slope) -> None:
    fine = with_shape(grid, tuple(shape))
    slope = torch.tensor(slope[: grid.dimension], dtype=torch.float64)
    image = Image(ramp(fine, slope), fine)
    coarse = smoothed(image, sigma)
    inside = interior(image, coarse.grid, 4 * max(sigma, 0.25 * float(fine.spacing.max())))
    expected = ramp(coarse.grid, slope)
    torch.testing.assert_close(coarse.data.double()[inside], expected[inside], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("sigma", [0.5, 2.0, 5.0])
def test_downsampling_preserves_the_centre(grid, random_image, sigma) -> None:
    image = random_image(grid)
    coarse = smoothed(image, sigma).grid
    torch.testing.assert_close(coarse.centre_world(), grid.centre_world())
    torch.testing.assert_close(coarse.direction, grid.direction)
    factors = coarse.spacing / grid.spacing
    torch.testing.assert_close(factors, factors.round())
    downsampled = factors.round() > 1
    assert (coarse.spacing[downsampled] <= sigma).all() and (coarse.spacing[downsampled] > sigma / 2).all()
    assert (grid.spacing[~downsampled] > sigma / 2).all()
    expected = [-(-n // int(f)) for n, f in zip(grid.shape, factors.round(), strict=True)]
    assert coarse.shape == tuple(expected)


def test_a_constant_image_is_unchanged_up_to_the_border(grid) -> None:
    image = Image(torch.full(grid.shape, 7, dtype=torch.int16), grid)
    data = smoothed(image, 2.0).data
    torch.testing.assert_close(data, torch.full_like(data, 7.0))


def test_without_smoothing_the_image_is_unchanged(grid, random_image) -> None:
    image = random_image(grid)
    unsmoothed = smoothed(image, 0.0)
    assert torch.equal(unsmoothed.data, image.data.float()) and unsmoothed.grid.same_as(grid)


@pytest.mark.parametrize("window", [None, (0.0, 500.0)])
@pytest.mark.parametrize("dtype", [torch.int32, torch.float32, torch.float64])
def test_smoothing_is_independent_of_the_voxel_type(grid, random_image, window, dtype) -> None:
    image = random_image(grid, torch.int16)
    expected = smoothed(image, 2.0, window)
    assert expected.data.dtype == torch.float32
    assert torch.equal(smoothed(image.with_data(image.data.to(dtype)), 2.0, window).data, expected.data)


def test_window_is_applied_before_smoothing(grid, random_image) -> None:
    image = random_image(grid, torch.float32)
    before = image.data.clone()
    windowed = image.with_data(((image.data + 50) / 550).clamp(0, 1))
    torch.testing.assert_close(smoothed(image, 2.0, (-50.0, 500.0)).data, smoothed(windowed, 2.0).data)
    assert torch.equal(image.data, before)


def test_smoothing_is_independent_of_slabs_and_memory_order(grid, random_image, monkeypatch) -> None:
    image = random_image(grid)
    expected = smoothed(image, 2.0).data
    fortran = (
        image.data.permute(*reversed(range(grid.dimension))).contiguous().permute(*reversed(range(grid.dimension)))
    )
    torch.testing.assert_close(smoothed(image.with_data(fortran), 2.0).data, expected)
    monkeypatch.setattr(Grid, "slabs", lambda self, points: ((i, i + 1) for i in range(self.shape[-1])))
    torch.testing.assert_close(smoothed(image, 2.0).data, expected)


def test_smoothing_an_axis_of_one_voxel() -> None:
    line = np.zeros((1, 41))
    line[0, 20] = 1.0
    image = Image(torch.from_numpy(line), Grid.from_spacing((1, 41), (10.0, 1.0)))
    coarse = smoothed(image, 1.5)
    torch.testing.assert_close(coarse.data.double().numpy()[0], gaussian_filter(line[0], 1.5), rtol=0, atol=1e-4)


@pytest.fixture
def waves() -> Image:
    """A smooth image with voxels of 1 x 1.2 x 0.9 mm and values from -900 to 900."""
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in (60, 50, 40)), indexing="ij")
    values = 300 * sum(torch.sin(a / (3 + i)) for i, a in enumerate(axes))
    affine = torch.diag(torch.tensor([1.0, 1.2, 0.9, 1.0]).double())
    return Image(torch.as_tensor(values).to(torch.int16), Grid((60, 50, 40), affine))


def inner_points(image: Image) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return image.grid.voxel_to_world_points(torch.rand(200, 3, generator=generator).double() * 25 + 8).float()


def test_levels_of_a_large_image_share_one_pass(waves: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels computed from the downsampled image agree with those computed from the voxels."""
    window = (-900.0, 900.0)
    direct = pyramid.Pyramid(waves, window)
    monkeypatch.setattr(pyramid, "LARGE", 1000)
    shared = pyramid.Pyramid(waves, window)
    assert direct.resolution == math.inf and shared.resolution == pytest.approx(2 * (1.0 * 1.2 * 0.9) ** (1 / 3))
    for sigma in (6.0, 4.0, 2.5):
        expected, level = direct.at(sigma), shared.at(sigma)
        points = inner_points(waves)
        difference = ImageSampler(level)(points) - ImageSampler(expected)(points)
        assert float(difference.abs().max()) < 0.03
        assert (level.grid.spacing <= sigma + 1e-6).all() and level.grid.size < waves.grid.size
    assert shared.at(1.0).grid.size == waves.grid.size  # finer than the downsampled image: from the voxels


def test_samples_far_apart_read_a_downsampled_image(waves: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    window = (-900.0, 900.0)
    raw = pyramid.Pyramid(waves, window, detail=2.5).sampler(0.0, 5.0)
    assert raw.image is waves  # not large
    monkeypatch.setattr(pyramid, "LARGE", 1000)
    levels = pyramid.Pyramid(waves, window, detail=2.5)
    assert levels.sampler(0.0, 4.9).image is waves
    coarse = levels.sampler(0.0, 5.0)
    assert coarse.image.grid.shape == (30, 25, 20)
    points = inner_points(waves)
    assert float((coarse(points) - raw(points)).abs().max()) < 0.06


@pytest.mark.parametrize("factors", [(1, 1, 1), (2, 3, 1), (7, 4, 9), (90, 2, 1)])
def test_downsampled_voxels_are_means_of_blocks_at_their_centres(waves: Image, factors: tuple[int, ...]) -> None:
    spacing = torch.tensor([6.0 / f for f in factors], dtype=torch.float64)
    image = waves.with_grid(Grid(waves.grid.shape, torch.diag(torch.cat([spacing, torch.ones(1)]).double())))
    coarse, smoothing = pyramid.downsampled(image, 6.0)
    factors = tuple(min(f, n) for f, n in zip(factors, image.grid.shape, strict=True))
    assert coarse.grid.shape == tuple(n // f for n, f in zip(image.grid.shape, factors, strict=True))
    corner = tuple(n % f // 2 for n, f in zip(image.grid.shape, factors, strict=True))
    block = tuple(slice(c, c + f) for c, f in zip(corner, factors, strict=True))
    assert float(coarse.data[0, 0, 0]) == pytest.approx(float(image.data[block].float().mean()), abs=1e-3)
    centre = torch.tensor([c + (f - 1) / 2 for c, f in zip(corner, factors, strict=True)], dtype=torch.float64)
    torch.testing.assert_close(coarse.grid.origin, image.grid.voxel_to_world_points(centre))
    positions = [torch.arange(f).double() * float(s) for f, s in zip(factors, spacing, strict=True)]
    torch.testing.assert_close(smoothing, torch.stack([p.std(correction=0) for p in positions]))


def test_a_transformed_pyramid_keeps_the_downsampled_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "LARGE", 10)
    image = Image(torch.rand(8, 9, 10), Grid((8, 9, 10), torch.eye(4, dtype=torch.float64)))
    before = pyramid.Pyramid(image, (0.0, 1.0))
    level = before.at(3.0)
    shift = torch.eye(4, dtype=torch.float64)
    shift[:3, 3] = torch.tensor([5.0, -2.0, 1.0])
    after = before.transformed(shift)
    assert after._base is not None and before._base is not None and after._base[0].data is before._base[0].data
    shifted = after.at(3.0)
    torch.testing.assert_close(shifted.data, level.data)
    torch.testing.assert_close(shifted.grid.affine, shift @ level.grid.affine)
