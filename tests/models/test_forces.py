"""The demons' forces: closed forms, a bound, symmetry, gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nephi.models.networks.encoder import forces


def ramp(*slopes: float) -> torch.Tensor:
    """Return an image `(1, 1, 8, 8[, 8])` with these slopes per voxel."""
    axes = torch.meshgrid(*[torch.arange(8.0) for _ in slopes], indexing="ij")
    return sum(slope * axis for slope, axis in zip(slopes, axes, strict=True))[None, None]


@pytest.mark.parametrize("slopes", [(0.1, 0.05), (0.0, 0.2, -0.1)])
def test_the_force_between_ramps_is_the_shift_along_the_gradient(slopes: tuple[float, ...]) -> None:
    """`fixed(x) = moving(x + u)`, u = 0.3 voxels along one axis: the force is the component along the gradient."""
    moving = ramp(*slopes)
    axis = next(k for k, slope in enumerate(slopes) if slope)
    fixed = moving + 0.3 * slopes[axis]
    slope = torch.tensor(slopes)
    expected = slope * 0.3 * slopes[axis] / slope.square().sum()
    force = forces(fixed, moving).flatten(2)[0]
    torch.testing.assert_close(force, expected[:, None].expand_as(force), rtol=0.06, atol=1e-3)


@given(st.integers(0, 1000), st.floats(0.1, 5.0), st.sampled_from([2, 3]))
def test_forces_are_at_most_one_voxel_long_and_vanish_for_equal_images(seed: int, scale: float, dimension: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    fixed, moving = (scale * torch.rand(2, 1, *[6] * dimension, generator=generator) for _ in range(2))
    found = forces(fixed, moving)
    assert found.shape == (2, dimension, *[6] * dimension)
    assert float(found.norm(dim=1).max()) <= 1 + 1e-5
    assert float(forces(fixed, fixed).abs().max()) == 0
    torch.testing.assert_close(forces(moving, fixed), -found)


def test_gradients_of_the_forces() -> None:
    generator = torch.Generator().manual_seed(2)
    images = [torch.rand(1, 1, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(forces, images)
