import math

import pytest
import torch

from nephi.geometry import Grid
from nephi.images import Image
from nephi.metrics import inverse_consistency_error
from nephi.transforms import AffineTransform


def test_exact_inverse_has_no_error(grid) -> None:
    matrix = torch.eye(grid.dimension + 1)
    matrix[0, 1], matrix[1, -1] = 0.3, 20.0
    transform = AffineTransform(matrix)
    assert inverse_consistency_error(transform, transform.inverse(), grid) < 1e-4


def test_error_is_a_distance_in_millimetres(grid) -> None:
    offset = torch.zeros(grid.dimension)
    offset[0], offset[1] = 3.0, 4.0
    assert inverse_consistency_error(lambda x: x + 50, lambda y: y - 50 + offset, grid) == pytest.approx(5.0, rel=1e-4)


@pytest.mark.parametrize("masked", [False, True])
def test_error_is_the_mean_over_the_mask(grid, masked) -> None:
    mask = Image((torch.rand(grid.shape, generator=torch.Generator().manual_seed(0)) < 0.4).byte(), grid)
    scale = 1.1
    centres = grid.voxel_centres().flatten(0, -2)[mask.data.flatten() > 0 if masked else slice(None)]
    distances = [0.1 * math.hypot(*point) for point in centres.tolist()]
    error = inverse_consistency_error(lambda x: x, lambda y: scale * y, grid, mask if masked else None)
    assert error == pytest.approx(sum(distances) / len(distances), rel=1e-4)


def test_points_displaced_out_of_the_domain_are_left_out() -> None:
    """Displaced by 2 mm, the last two of five columns leave the grid of the inverse."""
    grid = Grid.from_spacing((5, 3), (1.0, 1.0))
    shift = torch.tensor([2.0, 0.0])

    def stored_inverse(points: torch.Tensor) -> torch.Tensor:
        inside = grid.contains_voxel_points(points)
        return points - 1.5 * shift * inside.unsqueeze(-1)

    overall = inverse_consistency_error(lambda x: x + shift, stored_inverse, grid)
    within = inverse_consistency_error(lambda x: x + shift, stored_inverse, grid, domain=grid)
    assert overall == pytest.approx((3 * 1.0 + 2 * 2.0) / 5) and within == pytest.approx(1.0)
