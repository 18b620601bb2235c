"""Compare the kernels of whole volumes with their torch twins: products with matrices, sums over slices."""

import pytest
import torch

from nephi import kernels
from nephi.geometry import Grid
from nephi.images import Image, image, pyramid

TYPES = [torch.float32, torch.float64, torch.uint8, torch.int16, torch.int32]
SHAPES_AND_ORDERS = [((19, 23, 9), (0, 1, 2)), ((19, 23, 9), (2, 1, 0)), ((7, 8, 300), (1, 2, 0)), ((21, 40), (1, 0))]


def random_image(shape: tuple[int, ...], dtype: torch.dtype, order: tuple[int, ...]) -> Image:
    """Return random voxels whose axes lie in memory in `order`, slowest first."""
    generator = torch.Generator().manual_seed(0)
    values = (250 * torch.rand([shape[a] for a in order], generator=generator)).to(dtype)
    affine = torch.diag(torch.tensor([*(1.1, 0.8, 2.0)[: len(shape)], 1.0], dtype=torch.float64))
    return Image(values.permute([order.index(a) for a in range(len(shape))]), Grid(shape, affine))


@pytest.mark.parametrize("sigma", [0.5, 2.0, 5.0, 60.0])
@pytest.mark.parametrize("window", [None, (40.0, 200.0)])
@pytest.mark.parametrize(
    ("shape", "order"),
    [((19, 23, 9), (0, 1, 2)), ((19, 23, 9), (2, 1, 0)), ((7, 8, 30), (1, 2, 0)), ((21, 40), (1, 0))],
)
def test_smoothing_agrees_with_torch(
    shape: tuple[int, ...],
    order: tuple[int, ...],
    window: tuple[float, float] | None,
    sigma: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volume = random_image(shape, torch.int16, order)
    assert kernels.can_read_through(volume.data)
    smoothed = pyramid.smoothed(volume, sigma, window)
    monkeypatch.setattr(pyramid, "can_read_through", lambda data: False)
    expected = pyramid.smoothed(volume, sigma, window)
    torch.testing.assert_close(smoothed.data, expected.data, rtol=1e-5, atol=1e-5 * float(expected.data.abs().max()))
    assert smoothed.grid.same_as(expected.grid)


@pytest.mark.parametrize("dtype", TYPES)
def test_smoothing_reads_every_voxel_type(dtype: torch.dtype) -> None:
    volume = random_image((12, 11, 10), dtype, (2, 1, 0))
    as_float = volume.with_data(volume.data.float())
    torch.testing.assert_close(
        pyramid.smoothed(volume, 2.0).data, pyramid.smoothed(as_float, 2.0).data, rtol=1e-5, atol=1e-3
    )


def test_smoothing_a_single_slice_is_finite() -> None:
    single_slice = random_image((12, 1, 10), torch.float32, (2, 1, 0))
    assert torch.isfinite(pyramid.smoothed(single_slice, 3.0).data).all()


def test_gaps_between_voxels_are_left_to_torch() -> None:
    assert not kernels.can_read_through(torch.zeros(10, 10, 10)[..., ::2])


def test_a_repeated_slice_is_left_to_torch() -> None:
    """An axis of stride 0 would be taken for the fastest, and read beyond its one voxel."""
    assert not kernels.can_read_through(torch.zeros(10, 10, 1).expand(10, 10, 8))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("shape", "order"), SHAPES_AND_ORDERS)
def test_foreground_profiles_agree_with_torch(
    shape: tuple[int, ...], order: tuple[int, ...], dtype: torch.dtype
) -> None:
    data = random_image(shape, dtype, order).data
    data = torch.where(data < 100, 0 if dtype == torch.uint8 else -1, data)
    assert kernels.can_read_through(data)
    for profile, expected in zip(kernels.foreground_profiles(data), image._foreground_profiles(data), strict=True):
        assert torch.equal(profile, expected)


def test_foreground_has_bounds_count_and_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    data = torch.zeros(9, 8, 7, dtype=torch.uint8)
    data[2:5, 1:3, 6] = 3
    data[4, 7, 0] = 1
    for by_kernel in (True, False):
        monkeypatch.setattr(image, "can_read_through", lambda _, by_kernel=by_kernel: by_kernel)
        foreground = Image(data, Grid(data.shape, torch.eye(4, dtype=torch.float64))).foreground
        assert foreground[:3] == ((2, 1, 0), (5, 8, 7), 7)
        torch.testing.assert_close(foreground.centre, (data > 0).nonzero().double().mean(dim=0))


def test_a_new_grid_keeps_the_foreground() -> None:
    mask = Image(torch.ones(3, 4, dtype=torch.uint8), Grid((3, 4), torch.eye(3, dtype=torch.float64)))
    foreground = mask.foreground
    matrix = torch.diag(torch.tensor([2.0, 3.0, 1.0], dtype=torch.float64))
    assert mask.with_grid(mask.grid.transformed(matrix)).foreground is foreground
    assert mask.with_data(mask.data[:]).foreground is not foreground
