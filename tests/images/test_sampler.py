"""Test interpolation at world points, and patches against interpolation at their sample points."""

import pytest
import torch

from nephi.geometry import interpolate
from nephi.images import Image, ImageSampler
from nephi.sampling import patch_offsets

WINDOW = (50.0, 700.0)
with_window = pytest.mark.parametrize("window", [None, WINDOW], ids=["raw", "window"])


def interpolated(image: Image, points: torch.Tensor, window: tuple[float, float] | None) -> torch.Tensor:
    """Return values computed in float64."""
    values = interpolate(image.data, image.grid.world_to_voxel_points(points.double()))
    return values if window is None else ((values - window[0]) / (window[1] - window[0])).clamp(0, 1)


def assert_near(values: torch.Tensor, expected: torch.Tensor) -> None:
    """World coordinates are float32: an error of 1e-5 mm at gradients up to 1000 per voxel."""
    torch.testing.assert_close(values.double(), expected.double(), rtol=1e-5, atol=0.2 if expected.max() > 2 else 2e-4)


@with_window
@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_values_agree_with_float64(grid, random_image, points_in, window, dtype) -> None:
    image, points = random_image(grid, dtype), points_in(grid, 100, 2.0).float().reshape(4, 25, -1)
    values = ImageSampler(image, window)(points)
    assert values.dtype == torch.float32 and values.shape == (4, 25)
    assert_near(values, interpolated(image, points, window))


@with_window
@pytest.mark.parametrize("with_jacobians", [False, True])
def test_patches_equal_values_at_their_points(grid, random_image, points_in, window, with_jacobians) -> None:
    image, centres = random_image(grid), points_in(grid, 9, 2.0).float()
    d = grid.dimension
    offsets = patch_offsets(d, 1, 0.7)
    generator = torch.Generator().manual_seed(5)
    jacobians = torch.eye(d) + 0.4 * torch.randn(9, d, d, generator=generator) if with_jacobians else None
    points = torch.stack(
        [torch.stack([c + (jacobians[p] @ o if with_jacobians else o) for o in offsets]) for p, c in enumerate(centres)]
    )
    sampler = ImageSampler(image, window)
    patches = sampler.patches(centres, offsets, jacobians)
    assert patches.shape == (9, 3**d)
    assert_near(patches, sampler(points))
    assert_near(patches, interpolated(image, points, window))


def test_gradients_of_centres_and_jacobians(grid, random_image, points_in) -> None:
    image, d = random_image(grid, torch.float32), grid.dimension
    offsets, weights = patch_offsets(d, 1, 0.7), torch.linspace(-1, 1, 3**d)
    centres = points_in(grid, 9, -1.0).float().requires_grad_()
    jacobians = (torch.eye(d) + 0.1).repeat(9, 1, 1).requires_grad_()
    patches = ImageSampler(image, WINDOW).patches(centres, offsets, jacobians)
    explicit = interpolated(image, centres[:, None] + (jacobians[:, None] @ offsets[..., None]).squeeze(-1), WINDOW)
    gradients = torch.autograd.grad((patches * weights).sum(), (centres, jacobians))
    expected = torch.autograd.grad((explicit * weights).sum(), (centres, jacobians))
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-3)


def test_the_window_clamps_values_and_their_gradient(grid, random_image, points_in) -> None:
    points = points_in(grid, 100, 2.0).float().requires_grad_()
    raw = ImageSampler(random_image(grid))(points)
    values = ImageSampler(random_image(grid), WINDOW)(points)
    (gradient,) = torch.autograd.grad(values.sum(), points)
    below, above = raw < WINDOW[0] - 1, raw > WINDOW[1] + 1
    assert below.any() and above.any()
    assert (values[below] == 0).all() and (values[above] == 1).all()
    assert (gradient[below | above] == 0).all()


def test_window_acts_on_the_interpolated_value(grids) -> None:
    """Between air and metal the interpolated value lies in the window although both voxels lie outside of it."""
    data = torch.zeros(grids[2].shape, dtype=torch.int16)
    data[0], data[1:] = -1000, 3000
    point = grids[2].voxel_to_world_points(torch.tensor([[0.25, 2.0]]))
    torch.testing.assert_close(ImageSampler(Image(data, grids[2]), (-200.0, 200.0))(point), torch.tensor([0.5]))


def test_contains_agrees_with_the_grid(grid, random_image, points_in) -> None:
    points = points_in(grid, 100, 2.0).float()
    inside = ImageSampler(random_image(grid)).contains(points)
    assert torch.equal(inside, grid.contains_voxel_points(grid.world_to_voxel_points(points)))
    assert inside.any() and not inside.all()
