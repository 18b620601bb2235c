"""Test the closed-form motions: Jacobians, direction, extent."""

import math

import pytest
import torch
from torch import Tensor

from nephi.errors import UsageError
from nephi.geometry import determinant
from nephi.phantoms import Breathing, WaveMotion, lung_phantom
from nephi.phantoms.motion import Ramp, Window
from nephi.phantoms.waves import PlaneWaves
from nephi.transforms import Transform


def breathing(depth: float = 0.15) -> Breathing:
    generator = torch.Generator().manual_seed(4)
    waves = PlaneWaves.random(5, 3, 3, (10.0, 20.0), generator)
    return Breathing(
        amplitude=40.0,
        depth=depth,
        window=Window(torch.tensor([1.0, -8.0, 0.0]), torch.tensor([120.0, 90.0, math.inf]), 0.2),
        rise=Ramp(2, 40.0, -120.0, 12.0),
        front=Ramp(1, -60.0, 70.0, 10.0),
        local=WaveMotion(waves, Window(torch.tensor([0.0, 3.0, -20.0]), torch.tensor([110.0, 70.0, 100.0]), 0.15), 0.8),
    )


def waves_2d() -> WaveMotion:
    waves = PlaneWaves.random(4, 2, 2, (30.0, 60.0), torch.Generator().manual_seed(5))
    return WaveMotion(waves, Window(torch.tensor([2.0, -1.0]), torch.tensor([50.0, 40.0]), 0.3), 3.0)


@pytest.mark.parametrize(("motion", "extent"), [(breathing(), (130, 95, 140)), (waves_2d(), (60, 50))])
def test_the_jacobian_is_the_derivative_of_the_value(motion: Transform, extent: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    points = (2 * torch.rand(60, len(extent), generator=generator).double() - 1) * torch.tensor(extent)
    value, jacobian = motion.value_and_jacobian(points)
    torch.testing.assert_close(value, motion(points), rtol=0, atol=1e-10)
    derivative = torch.stack([torch.autograd.functional.jacobian(motion, p) for p in points])
    torch.testing.assert_close(jacobian, derivative, rtol=0, atol=1e-7)
    assert (jacobian - torch.eye(len(extent)).double()).abs().amax(dim=0).min() > 1e-3  # every entry is tested


def test_results_keep_the_shape_and_dtype_of_the_points() -> None:
    points = torch.zeros(2, 5, 3)
    value, jacobian = breathing().value_and_jacobian(points)
    assert (value.shape, value.dtype) == ((2, 5, 3), torch.float32)
    assert (jacobian.shape, jacobian.dtype) == ((2, 5, 3, 3), torch.float32)
    assert breathing()(points).dtype == torch.float32


def test_breathing_displaces_the_base_up_and_the_front_back_but_not_apex_and_outside() -> None:
    def displacement(x: float, y: float, z: float) -> Tensor:
        point = torch.tensor([x, y, z], dtype=torch.float64)
        return breathing()(point) - point

    assert displacement(20, 30, -125)[2] > 25
    assert displacement(20, 60, -125)[1] < -2
    assert displacement(20, 0, 110).norm() < 1.5
    assert displacement(400, 0, -125).norm() < 1e-3
    point = torch.tensor([20.0, 60.0, -200.0])
    assert (breathing(depth=0.0)(point) - point)[1].abs() < 0.1


def test_the_ramp_is_a_step_in_both_directions() -> None:
    z = torch.tensor([[0.0, 0.0, z] for z in (-400.0, -40.0, 400.0)])
    falling, slope = Ramp(2, 40.0, -120.0, 5.0).value_and_slope(z)
    torch.testing.assert_close(falling, torch.tensor([1.0, 0.5, 0.0]), rtol=0, atol=1e-4)
    rising, _ = Ramp(2, -120.0, 40.0, 5.0).value_and_slope(z)
    torch.testing.assert_close(rising, 1 - falling, rtol=0, atol=1e-4)
    torch.testing.assert_close(slope, torch.tensor([0.0, -1 / 160, 0.0]), rtol=0, atol=1e-5)


def test_plane_waves_have_the_given_wavelengths_unit_rms_and_the_right_gradient() -> None:
    waves = PlaneWaves.random(12, 3, 3, (10.0, 20.0), torch.Generator().manual_seed(1))
    lengths = 2 * math.pi / waves.vectors.norm(dim=1)
    assert 10 < lengths.min() < 11 and 19 < lengths.max() < 20
    points = 1000 * torch.rand(20_000, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    values = waves(points)
    torch.testing.assert_close(values.square().mean(dim=0).sqrt(), torch.ones(3).double(), rtol=0, atol=0.03)
    assert (torch.corrcoef(values.T) - torch.eye(3)).abs().max() < 0.8
    value, gradient = waves.value_and_gradient(points[:7])
    torch.testing.assert_close(value, values[:7])
    expected = torch.stack([torch.autograd.functional.jacobian(waves, p) for p in points[:7]])
    torch.testing.assert_close(gradient, expected)


def test_determinant_agrees_with_torch() -> None:
    matrices = torch.randn(50, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(determinant(matrices), torch.linalg.det(matrices))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"motion": 0.0}, "motion"),
        ({"motion": 500.0}, "motion"),
        ({"noise": -1.0}, "noise"),
        ({"compression": 0.99}, "motion"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, float], name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}: expected"):
        lung_phantom(**arguments, shape=(8, 8, 8))
