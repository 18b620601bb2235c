"""Test that gaps (NaN, infinite) stay local in interpolation, and that whole numbers are exact."""

import warnings

import pytest
import torch

from nephi.errors import DataWarning
from nephi.geometry import Grid
from nephi.images import INTERPOLATIONS, Image, resample
from nephi.images.interpolators import interpolator

every_interpolation = pytest.mark.parametrize("interpolation", INTERPOLATIONS)
NAN, INFINITE = float("nan"), float("inf")
IDS = (0, 315, 614_454_277, 614_454_278, 614_454_290, 2**40 + 1, 2**53 + 1)


def identity(points: torch.Tensor) -> torch.Tensor:
    return points


@every_interpolation
@pytest.mark.parametrize("gap", [NAN, INFINITE, -INFINITE])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_identity_keeps_gaps(grid, random_image, interpolation, gap, dtype) -> None:
    image = random_image(grid)
    image = image.with_data(image.data.div(8, rounding_mode="floor").to(dtype))
    image.data[(2,) * grid.dimension] = image.data[(0,) * grid.dimension] = gap
    resampled = resample(image, grid, identity, interpolation).data
    torch.testing.assert_close(resampled, image.data, rtol=0, atol=0.5, equal_nan=True)


@pytest.mark.parametrize(
    ("interpolation", "distance"), [("linear", 1), ("bspline", 1), ("nearest", 0.5), ("label", 0.6)]
)
def test_nan_extends_as_far_as_linear_interpolation(random_image, interpolation, distance) -> None:
    grid = Grid.from_spacing((15, 14, 13), (1.0, 2.0, 1.5))
    complete = random_image(grid)
    complete = complete.with_data(complete.data.float())
    image = complete.with_data(complete.data.clone())
    image.data[7, 7, 7] = NAN
    step = torch.tensor([0.3, -0.6, 0.6])
    resampled, expected = (resample(i, grid, lambda x: x + step, interpolation).data for i in (image, complete))
    points = grid.world_to_voxel_points(grid.voxel_centres() + step)
    near = ((points - 7).abs() < distance).all(dim=-1)
    assert torch.equal(resampled.isnan() & ~near, torch.zeros_like(near)) and bool(resampled.isnan().any())
    if interpolation != "label":
        assert torch.equal(resampled.isnan(), near)
    far = ((points - 7).abs() > 5).any(dim=-1)
    torch.testing.assert_close(resampled[far], expected[far], rtol=0, atol=0 if interpolation != "bspline" else 2)


def test_bspline_far_from_a_gap_equals_that_of_the_complete_image() -> None:
    """A smooth image with NaN as background, as SPM writes it."""
    grid = Grid.from_spacing((40, 20), (1.0, 1.0))
    x, y = torch.meshgrid(torch.arange(40.0), torch.arange(20.0), indexing="ij")
    complete = Image(100 * torch.sin(x / 6) * torch.cos(y / 7), grid)
    image = complete.with_data(torch.where(x < 30, complete.data, NAN))
    resampled, expected = (resample(i, grid, lambda p: p + 0.4, "bspline").data for i in (image, complete))
    torch.testing.assert_close(resampled[:20, :-1], expected[:20, :-1], rtol=0, atol=1e-3)
    assert bool(resampled[:29, :-1].isfinite().all()) and bool(resampled[29:38, :-1].isnan().all())


@every_interpolation
def test_an_image_of_gaps_only_yields_nan(interpolation) -> None:
    image = Image(torch.full((4, 5), NAN), Grid.from_spacing((4, 5), (1.0, 1.0)))
    assert bool(resample(image, image.grid, identity, interpolation).data.isnan().all())


@every_interpolation
def test_nan_points_lie_outside(interpolation) -> None:
    image = Image(torch.ones(4, 5), Grid.from_spacing((4, 5), (1.0, 1.0)))
    for dtype in (torch.float32, torch.int64):
        typed = image.with_data(image.data.to(dtype))
        resampled = resample(typed, image.grid, lambda x: x * NAN, interpolation, -3.0)
        assert bool((resampled.data == -3).all())


@pytest.mark.parametrize("interpolation", ["nearest", "label"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float64])
def test_labels_are_exact(grid, interpolation, dtype) -> None:
    ids = torch.tensor(IDS if dtype == torch.int64 else IDS[:-1]).to(dtype)
    indices = torch.randint(len(ids), grid.shape, generator=torch.Generator().manual_seed(1))
    labels = Image(ids[indices], grid)
    assert torch.equal(resample(labels, grid, identity, interpolation).data, labels.data)
    shifted = resample(labels, grid, lambda x: x + 0.4, interpolation).data
    assert set(shifted.unique().tolist()) <= set(ids.tolist())


@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.float64])
def test_large_whole_numbers_are_not_rounded(grid, interpolation, dtype) -> None:
    data = (614_454_277 + torch.arange(grid.size).reshape(grid.shape)).to(dtype)
    with pytest.warns(DataWarning, match=rf"image: whole numbers beyond 2\^24 are averaged \({interpolation}\)"):
        resampled = resample(Image(data, grid), grid, identity, interpolation).data
    torch.testing.assert_close(resampled, data, rtol=0, atol=0 if dtype != torch.float64 else 0.01)


def test_interpolating_intensities_as_labels_warns() -> None:
    grid = Grid.from_spacing((2, 2), (1.0, 1.0))
    with pytest.warns(DataWarning, match=r"m\.nii: expected whole numbers to interpolate as labels, found 0\.37;"):
        interpolator(Image(torch.tensor([[NAN, 1.0], [0.37, 2.0]]), grid, name="m.nii"), "label")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interpolator(Image(torch.tensor([[NAN, 1.0], [1.9999, 2.0]]), grid), "label")
        interpolator(Image(torch.tensor([[NAN, 1.0], [1.5, 2**25]], dtype=torch.float64), grid), "linear")
        interpolator(Image(torch.full((2, 2), NAN, dtype=torch.float64), grid), "linear")
        interpolator(Image(torch.tensor([[0, 1], [5, 2**24]]), grid), "bspline")
