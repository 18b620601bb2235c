"""Thin-plate splines: independent solutions, limits, scaling, derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.transforms import NumericalInverse, Spline, SplineMaps, affine_fit, spline_fit

PAIRS, COUNT, LENGTH = 3, 12, 40.0


@pytest.fixture(params=[2, 3])
def dimension(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair_of(dimension: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keypoints of a map that bends, mm, and weights."""
    fixed = 30 * random(PAIRS, COUNT, dimension) + torch.tensor([90.0, -40.0, 10.0][:dimension])
    moving = fixed + 4 * random(PAIRS, COUNT, dimension, seed=1) + 0.1 * fixed.flip(-1)
    return fixed, moving, random(PAIRS, COUNT, seed=2).square() + 0.2


def points_of(dimension: int) -> Tensor:
    return 40 * random(PAIRS, 30, dimension, seed=3) + torch.tensor([90.0, -40.0, 10.0][:dimension])


def spline_by_rows(fixed: Tensor, moving: Tensor, points: Tensor, smoothing: float, weights: Tensor) -> np.ndarray:
    """Solve the published system, written out entry by entry, for one pair in coordinates of half-edges."""
    x, y, w = (fixed / LENGTH).numpy(), (moving / LENGTH).numpy(), (weights / weights.mean()).numpy()
    k, d = x.shape
    system = np.zeros((k + d + 1, k + d + 1))
    for i in range(k):
        for j in range(k):
            r = np.linalg.norm(x[i] - x[j])
            system[i, j] = r**2 * np.log(r) if i != j else smoothing / w[i]
        system[i, k:] = system[k:, i] = [1, *x[i]]
    solution = np.linalg.solve(system, np.concatenate([y, np.zeros((d + 1, d))]))
    at = (points / LENGTH).numpy()
    r = np.linalg.norm(at[:, None] - x[None], axis=-1)
    kernels = np.concatenate([r**2 * np.log(r), np.ones((len(at), 1)), at], axis=1)
    return LENGTH * (kernels @ solution)


@pytest.mark.parametrize("smoothing", [0.0, 0.03, 1.0])
def test_the_spline_is_that_of_scipy(dimension: int, smoothing: float) -> None:
    fixed, moving, _ = pair_of(dimension)
    maps, points = spline_fit(fixed, moving, smoothing, LENGTH), points_of(dimension)
    for k in range(PAIRS):
        oracle = RBFInterpolator(
            (fixed[k] / LENGTH).numpy(), moving[k].numpy(), smoothing=smoothing, kernel="thin_plate_spline", degree=1
        )
        expected = oracle((points[k] / LENGTH).numpy())
        np.testing.assert_allclose(maps(points)[k].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("smoothing", [1e-4, 0.1, 10.0])
def test_the_weighted_spline_solves_the_published_system(dimension: int, smoothing: float) -> None:
    fixed, moving, weights = pair_of(dimension)
    maps, points = spline_fit(fixed, moving, smoothing, LENGTH, weights), points_of(dimension)
    for k in range(PAIRS):
        expected = spline_by_rows(fixed[k], moving[k], points[k], smoothing, weights[k])
        np.testing.assert_allclose(maps(points)[k].numpy(), expected, atol=1e-5)


def test_equal_weights_of_any_scale_are_no_weights(dimension: int) -> None:
    (fixed, moving, weights), points = pair_of(dimension), points_of(dimension)
    expected = spline_fit(fixed, moving, 0.1, LENGTH)(points)
    weighted = spline_fit(fixed, moving, 0.1, LENGTH, torch.full_like(weights, 0.01))(points)
    torch.testing.assert_close(weighted, expected, rtol=0, atol=1e-6)


def test_without_smoothing_the_keypoints_are_matched(dimension: int) -> None:
    fixed, moving, weights = pair_of(dimension)
    torch.testing.assert_close(spline_fit(fixed, moving, 0.0, LENGTH, weights)(fixed), moving, rtol=0, atol=1e-5)
    single = spline_fit(fixed.float(), moving.float(), 0.0, LENGTH)(fixed.float())
    torch.testing.assert_close(single, moving.float(), rtol=0, atol=1e-4)


def test_keypoints_without_weight_are_ignored(dimension: int) -> None:
    fixed, moving, weights = pair_of(dimension)
    weights[:, 4], points = 0.0, points_of(dimension)
    others = [k for k in range(COUNT) if k != 4]
    expected = spline_fit(fixed[:, others], moving[:, others], 0.05, LENGTH * 1.0, weights[:, others])(points)
    moving[:, 4] = 1e4
    # The scale of the weights, a mean of 1, counts the ignored point.
    computed = spline_fit(fixed, moving, 0.05 * COUNT / (COUNT - 1), LENGTH, weights)(points)
    torch.testing.assert_close(computed, expected, rtol=0, atol=1e-5)


def test_much_smoothing_gives_the_weighted_affine_fit(dimension: int) -> None:
    (fixed, moving, weights), points = pair_of(dimension), points_of(dimension)
    smooth = spline_fit(fixed, moving, 1e6, LENGTH, weights)(points)
    torch.testing.assert_close(smooth, affine_fit(fixed, moving, weights)(points), rtol=0, atol=1e-2)


def test_smoothing_scales_with_the_square_of_lengths(dimension: int) -> None:
    (fixed, moving, weights), points = pair_of(dimension), points_of(dimension)
    expected = spline_fit(fixed, moving, 0.1, LENGTH, weights)(points)
    other_unit = spline_fit(fixed, moving, 0.1 * 3**2, LENGTH / 3, weights)(points)
    torch.testing.assert_close(other_unit, expected, rtol=0, atol=1e-5)
    larger = spline_fit(2.5 * fixed, 2.5 * moving, 0.1, 2.5 * LENGTH, weights)(2.5 * points)
    torch.testing.assert_close(larger, 2.5 * expected, rtol=0, atol=1e-5)


def test_each_pair_has_its_own_smoothing(dimension: int) -> None:
    (fixed, moving, weights), points = pair_of(dimension), points_of(dimension)
    smoothing = torch.tensor([0.0, 0.1, 5.0], dtype=torch.float64)
    together = spline_fit(fixed, moving, smoothing, LENGTH, weights)(points)
    for k, value in enumerate(smoothing.tolist()):
        part = slice(k, k + 1)
        alone = spline_fit(fixed[part], moving[part], value, LENGTH, weights[part])(points[part])
        torch.testing.assert_close(alone, together[part], rtol=0, atol=1e-7)


def test_jacobians_are_those_of_central_differences(dimension: int) -> None:
    fixed, moving, weights = pair_of(dimension)
    maps, step = spline_fit(fixed, moving, 0.01, LENGTH, weights), 1e-4
    points = torch.cat([points_of(dimension), fixed], dim=1)  # at the keypoints as well
    values, jacobians = maps.value_and_jacobian(points)
    torch.testing.assert_close(values, maps(points))
    for axis in range(dimension):
        offset = torch.zeros(dimension, dtype=torch.float64)
        offset[axis] = step
        slope = (maps(points + offset) - maps(points - offset)) / (2 * step)
        torch.testing.assert_close(jacobians[..., axis], slope, rtol=0, atol=1e-6)


def test_a_loss_on_jacobians_is_differentiable(dimension: int) -> None:
    fixed, moving, weights = (tensor[:2, :6].clone() for tensor in pair_of(dimension))

    def loss(fixed: Tensor, moving: Tensor, weights: Tensor, points: Tensor) -> Tensor:
        values, jacobians = spline_fit(fixed, moving, 0.1, LENGTH, weights).value_and_jacobian(points)
        return (values / 100).square().mean() + jacobians.square().sum()

    inputs = [tensor.requires_grad_() for tensor in (fixed, moving, weights, points_of(dimension)[:2, :3].clone())]
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-4, atol=1e-5)


def test_one_pair_and_rows(dimension: int) -> None:
    fixed, moving, weights = pair_of(dimension)
    maps, points = spline_fit(fixed, moving, 0.1, LENGTH, weights), points_of(dimension)
    values, jacobians = maps.value_and_jacobian(points)
    spline = maps.one(1)
    assert isinstance(spline, Spline) and spline.dimension == dimension
    torch.testing.assert_close(spline(points[1]), values[1])
    torch.testing.assert_close(spline.value_and_jacobian(points[1].reshape(5, 6, -1))[1].flatten(0, 1), jacobians[1])
    torch.testing.assert_close(maps.rows(slice(1, 3))(points[1:]), values[1:])


def test_blocks_change_nothing(dimension: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed, moving, _ = pair_of(dimension)
    maps, points = spline_fit(fixed, moving, 0.1, LENGTH), points_of(dimension)
    values, jacobians = maps.value_and_jacobian(points)
    monkeypatch.setattr("nephi.transforms.spline.BLOCK", 7 * PAIRS * COUNT)
    for computed, expected in zip(maps.value_and_jacobian(points), (values, jacobians), strict=True):
        torch.testing.assert_close(computed, expected)


def test_the_inverse_starts_from_the_spline_of_the_other_direction(dimension: int) -> None:
    fixed, moving, _ = pair_of(dimension)
    spline, other = (spline_fit(*pair, 1.0, LENGTH).one(0) for pair in ((fixed, moving), (moving, fixed)))
    points = points_of(dimension)[0]
    inverse = NumericalInverse(spline, guess=other, tolerance=1e-6)
    torch.testing.assert_close(inverse(spline(points)), points, rtol=0, atol=1e-4)


def test_bad_input_is_refused() -> None:
    fixed, moving, _ = pair_of(2)
    for smoothing, length in ((-1.0, 1.0), (0.1, 0.0), (float("nan"), 1.0)):
        with pytest.raises(UsageError, match=r"^smoothing, length: expected 0 or more and above 0, got"):
            spline_fit(fixed, moving, smoothing, length)
    maps = spline_fit(fixed, moving, 0.1, LENGTH)
    with pytest.raises(DataError, match="expected a spline of finite values"):
        SplineMaps(maps.centres * torch.nan, maps.coefficients, maps.matrices, maps.translations, LENGTH).one(0)
    with pytest.raises(DataError, match="expected a spline of shapes"):
        Spline(maps.centres[0], maps.coefficients[0, 1:], maps.matrices[0], maps.translations[0], LENGTH)
