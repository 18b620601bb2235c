"""The kernel that smooths against its twin, products with matrices."""

import pytest
import torch

from nephi import kernels
from nephi.geometry import Grid
from nephi.images import Image, pyramid

TYPES = [torch.float32, torch.float64, torch.uint8, torch.int16, torch.int32]


def image_of(shape: tuple[int, ...], dtype: torch.dtype, order: tuple[int, ...]) -> Image:
    """Random voxels whose memory runs through the axes in `order`, slowest first."""
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
def test_smoothing_agrees_with_the_twin(
    shape: tuple[int, ...],
    order: tuple[int, ...],
    window: tuple[float, float] | None,
    sigma: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = image_of(shape, torch.int16, order)
    assert kernels.can_read_through(image.data)
    found = pyramid.smoothed(image, sigma, window)
    monkeypatch.setattr(pyramid, "can_read_through", lambda data: False)
    expected = pyramid.smoothed(image, sigma, window)
    torch.testing.assert_close(found.data, expected.data, rtol=1e-5, atol=1e-5 * float(expected.data.abs().max()))
    assert found.grid.same_as(expected.grid)


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_is_read(dtype: torch.dtype) -> None:
    image = image_of((12, 11, 10), dtype, (2, 1, 0))
    plain = image.with_data(image.data.float())
    torch.testing.assert_close(
        pyramid.smoothed(image, 2.0).data, pyramid.smoothed(plain, 2.0).data, rtol=1e-5, atol=1e-3
    )


def test_a_single_slice_and_a_gap_between_voxels() -> None:
    thin = image_of((12, 1, 10), torch.float32, (2, 1, 0))
    assert torch.isfinite(pyramid.smoothed(thin, 3.0).data).all()
    assert not kernels.can_read_through(torch.zeros(10, 10, 10)[..., ::2])  # left to torch


def test_a_repeated_slice_is_left_to_torch() -> None:
    """An axis of stride 0 would be taken for the fastest, and read beyond its one voxel."""
    assert not kernels.can_read_through(torch.zeros(10, 10, 1).expand(10, 10, 8))
