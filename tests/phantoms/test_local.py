import pytest
import torch

from nephi.errors import UsageError
from nephi.geometry import determinant, interpolate
from nephi.phantoms import local_motion_phantom
from nephi.phantoms.waves import PlaneWaves


def test_fixed_is_the_moving_image_at_the_mapped_points_and_an_affine_map_does_not_help() -> None:
    pair = local_motion_phantom(seed=1, spacing=8.0, count=200)
    points = pair.fixed.grid.voxel_centres().reshape(-1, 3)
    there = interpolate(pair.moving.data, pair.moving.grid.world_to_voxel_points(pair.transform(points)))
    mapped, still = (
        float((values.view(pair.fixed.data.shape) - pair.fixed.data).abs().float().mean())
        for values in (there, interpolate(pair.moving.data, pair.moving.grid.world_to_voxel_points(points)))
    )
    assert mapped < 0.6 * still  # voxels of 8 mm: the rest is interpolation
    fixed, moving = pair.landmarks.fixed.coordinates, pair.landmarks.moving.coordinates
    lengths = (moving - fixed).norm(dim=1)
    assert 15 < float(lengths.max()) <= 20.5
    homogeneous = torch.cat([fixed, torch.ones(len(fixed), 1, dtype=torch.float64)], dim=1)
    affine = homogeneous @ torch.linalg.lstsq(homogeneous, moving).solution
    assert float((affine - moving).norm(dim=1).mean()) > 0.85 * float(lengths.mean())


def test_motion_does_not_fold_and_its_jacobian_is_that_of_differences() -> None:
    transform = local_motion_phantom(seed=0, spacing=8.0, count=5).transform
    points = 80 * torch.rand(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    jacobians = transform.value_and_jacobian(points)[1]
    assert float(determinant(jacobians).min()) > 0
    step = 1e-4 * torch.eye(3, dtype=torch.float64)
    columns = [(transform(points + e) - transform(points - e)) / 2e-4 for e in step]
    torch.testing.assert_close(jacobians, torch.stack(columns, dim=-1), rtol=1e-6, atol=1e-6)


def test_transversal_waves_have_no_divergence() -> None:
    waves = PlaneWaves.random(5, 3, 3, (20.0, 30.0), torch.Generator().manual_seed(0)).transversal()
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 100
    gradients = waves.value_and_gradient(points)[1]
    assert float(gradients.diagonal(dim1=1, dim2=2).sum(dim=1).abs().max()) < 1e-9


@pytest.mark.parametrize(
    "numbers", [{"motion": 0.0}, {"motion": 200.0}, {"wavelength": 5.0}, {"spacing": 9.0}, {"spacing": float("nan")}]
)
def test_numbers_out_of_range_are_refused(numbers: dict[str, float]) -> None:
    (name,) = numbers
    with pytest.raises(UsageError, match=f"{name}: expected"):
        local_motion_phantom(**({"spacing": 8.0} | numbers))
