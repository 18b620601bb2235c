"""The demons' forces: closed forms, a bound, and what they do not depend on."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nephi.models.encoder import forces


def ramp(*slopes: float) -> torch.Tensor:
    """An image `(1, 1, 8, 8[, 8])` that rises by these from voxel to voxel."""
    axes = torch.meshgrid(*[torch.arange(8.0) for _ in slopes], indexing="ij")
    return sum(slope * axis for slope, axis in zip(slopes, axes, strict=True))[None, None]


@pytest.mark.parametrize("slopes", [(0.1, 0.05), (0.0, 0.2, -0.1)])
def test_between_ramps_it_is_the_shift_along_the_slope(slopes: tuple[float, ...]) -> None:
    """`fixed(x) = moving(x + u)` with u = 0.3 voxels along the first sloping axis, of which the slope sees a part."""
    moving = ramp(*slopes)
    axis = next(k for k, slope in enumerate(slopes) if slope)
    fixed = moving + 0.3 * slopes[axis]
    slope = torch.tensor(slopes)
    seen = slope * 0.3 * slopes[axis] / slope.square().sum()  # of the shift, its part along the slope
    found = forces(fixed, moving).flatten(2)[0]
    torch.testing.assert_close(found, seen[:, None].expand_as(found), rtol=0.06, atol=1e-3)


@given(st.integers(0, 1000), st.floats(0.1, 5.0), st.sampled_from([2, 3]))
def test_no_force_is_longer_than_a_voxel_and_none_is_without_a_difference(
    seed: int, scale: float, dimension: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    fixed, moving = (scale * torch.rand(2, 1, *[6] * dimension, generator=draw) for _ in range(2))
    found = forces(fixed, moving)
    assert found.shape == (2, dimension, *[6] * dimension)
    assert float(found.norm(dim=1).max()) <= 1 + 1e-5
    assert float(forces(fixed, fixed).abs().max()) == 0
    torch.testing.assert_close(forces(moving, fixed), -found)


def test_gradients_of_the_forces() -> None:
    draw = torch.Generator().manual_seed(2)
    images = [torch.rand(1, 1, 4, 3, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(forces, images)
