"""Compare the interpolation kernel with its torch twin."""

import pytest
import torch

from nephi import kernels
from nephi.geometry import Grid, interpolate, interpolate_with_gradient
from nephi.images import Image, ImageSampler
from nephi.sampling import patch_offsets

TYPES = [torch.float32, torch.float64, torch.uint8, torch.int16, torch.int32]


def volume(shape: tuple[int, ...], dtype: torch.dtype, reverse: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    axes = tuple(reversed(range(len(shape)))) if reverse else tuple(range(len(shape)))
    values = 200 * torch.rand([shape[a] for a in axes], generator=generator)
    return values.to(dtype).permute(axes)


def scattered_points(shape: tuple[int, ...], count: int = 200) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    points = (1.4 * torch.rand(count, len(shape), generator=generator) - 0.2) * torch.tensor(shape)
    points[: count // 4] = points[: count // 4].round()  # voxel centres, where cells meet
    return points


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(9, 7, 8), (6, 1, 5), (12, 9), (1, 1)])
def test_values_and_gradients_agree_with_the_twin(shape: tuple[int, ...], dtype: torch.dtype, reverse: bool) -> None:
    data, points = volume(shape, dtype, reverse), scattered_points(shape)
    assert kernels.can_interpolate(data, points)
    values, gradients = kernels.interpolate(data, points, None, gradient=True)
    expected, slopes = interpolate_with_gradient(data, points)
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(gradients, slopes, rtol=1e-5, atol=1e-3)
    assert torch.equal(kernels.interpolate(data, points, None, gradient=False)[0], values)


def test_a_strided_view_is_read_in_place() -> None:
    data = volume((20, 18, 16), torch.int16, False)[::2, 3:, ::3]
    points = scattered_points(tuple(data.shape))
    torch.testing.assert_close(interpolate(data, points), interpolate(data.double(), points.double()).float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16])
def test_the_window_and_its_gradient_agree_with_the_twin(dtype: torch.dtype) -> None:
    data, window = volume((9, 7, 8), dtype, True), (50.0, 120.0)
    results = []
    for precision in (torch.float32, torch.float64):  # torch computes in double
        points = scattered_points((9, 7, 8)).to(precision).requires_grad_()
        values = interpolate(data, points, window)
        values.square().sum().backward()
        results.append((values.double(), points.grad.double()))
    assert results[0][0].min() == 0 and results[0][0].max() == 1
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


def test_nan_and_infinite_points_read_valid_memory() -> None:
    data = volume((9, 7, 8), torch.float32, False)
    points = torch.tensor([[torch.nan, 1, 1], [torch.inf, 2, 2], [-torch.inf, 2, 2], [1e30, -1e30, 3]])
    values, gradients = kernels.interpolate(data, points, None, gradient=True)
    assert torch.isnan(values[0]) and torch.isfinite(values[1:]).all() and torch.isfinite(gradients[1:, 0]).all()
    assert values[1] == data[8, 2, 2] and values[2] == data[0, 2, 2]


def test_unsupported_arrays_are_left_to_torch() -> None:
    points = scattered_points((9, 7, 8))
    assert not kernels.can_interpolate(torch.zeros(9, 7, 8, 2), points)  # channels
    assert not kernels.can_interpolate(torch.zeros(9, 7, 8, dtype=torch.bool), points)
    assert not kernels.can_interpolate(torch.zeros(9, 7, 8), points.double())


@pytest.mark.parametrize("with_jacobians", [False, True])
@pytest.mark.parametrize("window", [None, (50.0, 120.0)])
@pytest.mark.parametrize("shape", [(9, 7, 8), (12, 9)])
def test_patches_and_their_gradients_agree_with_the_twin(
    shape: tuple[int, ...], window: tuple[float, float] | None, with_jacobians: bool
) -> None:
    d = len(shape)
    generator = torch.Generator().manual_seed(3)
    affine = torch.eye(d + 1, dtype=torch.float64)
    affine[:-1] += 0.3 * torch.randn(d, d + 1, generator=generator, dtype=torch.float64)
    image = Image(volume(shape, torch.int16, True), Grid(shape, affine))
    centres = image.grid.voxel_to_world_points(
        scattered_points(shape, 27)[7:]
    )  # without voxel centres, where gradients are discontinuous
    jacobians = torch.eye(d) + 0.2 * torch.randn(20, d, d, generator=generator)
    upstream = torch.randn(20, 3**d, generator=generator)
    results = []
    for dtype in (torch.float32, torch.float64):  # torch computes in double
        offsets = patch_offsets(d, 1, 0.7).to(dtype)
        x, j = (t.to(dtype, copy=True).requires_grad_() for t in (centres, jacobians))
        sampler = ImageSampler(image, window)
        sampler._linear, sampler._offset = sampler._linear.to(dtype), sampler._offset.to(dtype)
        values = sampler.patches(x, offsets, j if with_jacobians else None)
        (values * upstream).sum().backward()
        results.append([values.double(), x.grad.double(), j.grad.double() if with_jacobians else torch.zeros(1)])
    scale = float(results[1][1].abs().max())
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-3 * scale)


def test_volumes_whose_voxels_need_more_than_32_bits_are_left_to_torch() -> None:
    voxels = torch.empty(2**31 + 1, dtype=torch.uint8)  # never written: it takes no memory
    points = torch.zeros(1, 3)
    assert not kernels.can_interpolate(voxels.reshape(1, 1, -1), points)
    assert kernels.can_interpolate(voxels[:-1].reshape(1, 1, -1), points)
