"""Closed-form fits of corresponding points: independent solutions, symmetry, degenerate sets, derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from nephi.errors import UsageError
from nephi.transforms import (
    AffineMaps,
    affine_fit,
    halfway_affine_fit,
    nearest_rotation,
    rigid_fit,
    similarity_fit,
    spline_fit,
)

PAIRS, COUNT = 3, 9
Fit = Callable[..., AffineMaps]
fits = pytest.mark.parametrize("fit", [rigid_fit, similarity_fit, affine_fit, halfway_affine_fit])
symmetric_fits = pytest.mark.parametrize("fit", [rigid_fit, similarity_fit, halfway_affine_fit])


@pytest.fixture(params=[2, 3])
def dimension(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def points_of(dimension: int, seed: int = 0, pairs: int = PAIRS) -> Tensor:
    """Points in mm, away from the origin, of unequal extents."""
    extents = torch.tensor([30.0, 50.0, 20.0][:dimension], dtype=torch.float64)
    return random(pairs, COUNT, dimension, seed=seed) * extents + torch.tensor([90.0, -40.0, 10.0][:dimension])


def weights_of(seed: int = 5) -> Tensor:
    return random(PAIRS, COUNT, seed=seed).square() + 0.1


def rotations(dimension: int, angle: float = 2.0) -> Tensor:
    vectors = random(PAIRS, 3, seed=8).numpy()
    vectors *= angle / np.linalg.norm(vectors, axis=1, keepdims=True)
    if dimension == 2:
        vectors[:, :2], vectors[:, 2] = 0, angle
    return torch.from_numpy(Rotation.from_rotvec(vectors).as_matrix())[:, :dimension, :dimension]


def noisy_pair(dimension: int) -> tuple[Tensor, Tensor]:
    fixed = points_of(dimension)
    linear = rotations(dimension) @ (torch.eye(dimension, dtype=torch.float64) + 0.2 * random(dimension, dimension))
    return fixed, fixed @ linear.transpose(-1, -2) + 5 * random(*fixed.shape, seed=3) + 12


def assert_equal_maps(computed: AffineMaps, expected: AffineMaps, atol: float = 1e-6) -> None:
    points = points_of(computed.matrices.shape[-1], seed=6, pairs=len(computed))
    torch.testing.assert_close(computed(points), expected(points), rtol=0, atol=atol)


@pytest.mark.parametrize("angle", [0.1, 2.0, np.pi])
@fits
def test_a_turn_is_recovered_and_outliers_without_weight_are_ignored(fit: Fit, dimension: int, angle: float) -> None:
    fixed, rotation = points_of(dimension), rotations(dimension, angle)
    moving = fixed @ rotation.transpose(-1, -2) + 7
    weights = weights_of()
    weights[:, 2], moving[:, 2] = 0, 1e4
    expected = AffineMaps(rotation, torch.full((PAIRS, dimension), 7.0, dtype=torch.float64))
    assert_equal_maps(fit(fixed, moving, weights), expected, 1e-5)


@pytest.mark.parametrize("fit", [affine_fit, halfway_affine_fit])
def test_an_affine_map_is_recovered(fit: Fit, dimension: int) -> None:
    fixed = points_of(dimension)
    matrices = rotations(dimension) @ (torch.eye(dimension, dtype=torch.float64) + 0.2 * random(dimension, dimension))
    expected = AffineMaps(matrices, random(PAIRS, dimension, seed=2))
    assert_equal_maps(fit(fixed, expected(fixed), weights_of()), expected, 1e-5)


def test_similarities_recover_the_scale(dimension: int) -> None:
    expected = AffineMaps(1.3 * rotations(dimension), random(PAIRS, dimension, seed=2))
    fixed = points_of(dimension)
    assert_equal_maps(similarity_fit(fixed, expected(fixed), weights_of()), expected)


def test_the_weighted_rotation_is_that_of_scipy() -> None:
    (fixed, moving), weights = noisy_pair(3), weights_of()
    maps = rigid_fit(fixed, moving, weights)
    for k in range(PAIRS):
        w = weights[k] / weights[k].sum()
        means = (w[:, None] * fixed[k]).sum(dim=0), (w[:, None] * moving[k]).sum(dim=0)
        centred = (fixed[k] - means[0]).numpy(), (moving[k] - means[1]).numpy()
        rotation, _ = Rotation.align_vectors(centred[1], centred[0], weights=w.numpy())
        np.testing.assert_allclose(maps.matrices[k].numpy(), rotation.as_matrix(), atol=1e-8)
        torch.testing.assert_close(maps.translations[k], means[1] - maps.matrices[k] @ means[0])


def test_the_rotation_in_2d_is_that_of_the_best_angle() -> None:
    (fixed, moving), weights = noisy_pair(2), weights_of()
    maps = rigid_fit(fixed, moving, weights)
    for k in range(PAIRS):
        w = weights[k, :, None] / weights[k].sum()
        x, y = fixed[k] - (w * fixed[k]).sum(dim=0), moving[k] - (w * moving[k]).sum(dim=0)
        sine, cosine = (w[:, 0] * (x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0])).sum(), (w * x * y).sum()
        angle = torch.atan2(sine, cosine)
        rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2)
        torch.testing.assert_close(maps.matrices[k], rotation, rtol=0, atol=1e-8)


def test_the_weighted_affine_map_is_that_of_least_squares(dimension: int) -> None:
    (fixed, moving), weights = noisy_pair(dimension), weights_of()
    maps = affine_fit(fixed, moving, weights)
    for k in range(PAIRS):
        root = weights[k].sqrt().numpy()[:, None]
        rows = np.concatenate([fixed[k].numpy(), np.ones((COUNT, 1))], axis=1)
        solution = np.linalg.lstsq(root * rows, root * moving[k].numpy(), rcond=None)[0]
        np.testing.assert_allclose(maps.matrices[k].numpy(), solution[:-1].T, atol=1e-7)
        np.testing.assert_allclose(maps.translations[k].numpy(), solution[-1], atol=1e-5)


def test_the_half_way_map_is_composed_of_two_fits(dimension: int) -> None:
    """Fits from the mean of the sets, after the rigid map is removed: in other coordinates the published formula."""
    (fixed, moving), weights = noisy_pair(dimension), weights_of()
    half_way = (fixed + rigid_fit(fixed, moving, weights).inverse()(moving)) / 2
    to_moving, to_fixed = (affine_fit(half_way, points, weights) for points in (moving, fixed))
    points = points_of(dimension, seed=6)
    expected = to_moving(to_fixed.inverse()(points))
    torch.testing.assert_close(halfway_affine_fit(fixed, moving, weights)(points), expected, rtol=0, atol=1e-5)


@symmetric_fits
def test_exchanged_points_give_the_inverse(fit: Fit, dimension: int) -> None:
    (fixed, moving), weights = noisy_pair(dimension), weights_of()
    assert_equal_maps(fit(moving, fixed, weights), fit(fixed, moving, weights).inverse(), 1e-9)


def test_least_squares_of_an_affine_map_are_not_symmetric(dimension: int) -> None:
    (fixed, moving), weights = noisy_pair(dimension), weights_of()
    points = points_of(dimension, seed=6)
    forward, backward = affine_fit(fixed, moving, weights), affine_fit(moving, fixed, weights)
    assert float((backward(forward(points)) - points).norm(dim=-1).mean()) > 0.1


def test_affine_changes_of_the_points_change_the_affine_map_likewise(dimension: int) -> None:
    (fixed, moving), weights = noisy_pair(dimension), weights_of()
    change = AffineMaps(
        rotations(dimension, 1.0) * 1.5 + 0.1 * random(PAIRS, dimension, dimension), random(PAIRS, dimension)
    )
    points = points_of(dimension, seed=6)
    plain = affine_fit(fixed, moving, weights)
    changed = affine_fit(change(fixed), moving, weights)
    torch.testing.assert_close(changed(change(points)), plain(points), rtol=0, atol=1e-5)
    changed = affine_fit(fixed, change(moving), weights)
    torch.testing.assert_close(changed(points), change(plain(points)), rtol=0, atol=1e-5)


@fits
def test_a_mirror_image_gives_no_reflection_in_rigid_maps(fit: Fit, dimension: int) -> None:
    fixed = points_of(dimension)
    moving = fixed * torch.tensor([-1.0, 1.0, 1.0][:dimension], dtype=torch.float64)
    determinants = torch.linalg.det(fit(fixed, moving).matrices)
    assert bool((determinants < 0).all()) == (fit is affine_fit) and bool(determinants.isfinite().all())


def degenerate_sets(dimension: int) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Fixed and moving points, and weights, of which one pair is regular and one degenerate."""
    fixed, rotation = points_of(dimension), rotations(dimension, 1.0)
    moving = fixed @ rotation.transpose(-1, -2)
    ones = torch.ones(PAIRS, COUNT, dtype=torch.float64)
    steps = torch.linspace(-1, 1, COUNT, dtype=torch.float64)[:, None]
    line = fixed.clone()
    line[1] = steps * torch.tensor([30.0, 10.0, -5.0][:dimension]) + 20
    flat = fixed.clone()
    flat[1, :, -1] = 4.0
    point, no_weights, two = fixed.clone(), ones.clone(), ones.clone()
    point[1] = 3.0
    no_weights[1], two[1, 2:] = 0.0, 0.0

    def moved(points: Tensor) -> Tensor:
        return points @ rotation.transpose(-1, -2) + 3

    return {
        "collinear": (line, moved(line), ones),
        "in a plane": (flat, moved(flat), ones),
        "coincident": (point, moving, ones),
        "both coincident": (point, point.clone(), ones),
        "onto a point": (fixed, point, ones),
        "no weights": (fixed, moving, no_weights),
        "two points": (fixed, moved(fixed), two),
        "mirrored": (fixed, torch.cat([-fixed[..., :1], fixed[..., 1:]], dim=-1), ones),
    }


NAMES = list(degenerate_sets(2))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("fit", [rigid_fit, similarity_fit, affine_fit, halfway_affine_fit, "spline", "interpolation"])
def test_degenerate_points_have_finite_maps_and_gradients(fit: Fit | str, kind: torch.dtype, name: str) -> None:
    for dimension in (2, 3):
        fixed, moving, weights = (t.to(kind).requires_grad_() for t in degenerate_sets(dimension)[name])
        if isinstance(fit, str):
            maps = spline_fit(fixed, moving, 0.1 if fit == "spline" else 0.0, 50.0, weights)
        else:
            maps = fit(fixed, moving, weights)  # type: ignore[assignment]
        values, jacobians = maps.value_and_jacobian(points_of(dimension, seed=6).to(kind))
        (values.square().mean() + jacobians.square().sum()).backward()
        for tensor in (values, jacobians, fixed.grad, moving.grad, weights.grad):
            assert tensor is not None and bool(tensor.isfinite().all())


@fits
@pytest.mark.parametrize("name", ["collinear", "in a plane", "two points"])
def test_what_the_points_determine_is_fitted(fit: Fit, name: str, dimension: int) -> None:
    """A turn is recovered on the points themselves, and lengths across a plane or line are kept."""
    fixed, moving, weights = degenerate_sets(dimension)[name]
    maps = fit(fixed, moving, weights)
    residuals = (maps(fixed) - moving)[weights > 0]
    torch.testing.assert_close(residuals, torch.zeros_like(residuals), rtol=0, atol=1e-4)
    determinants = torch.linalg.det(maps.matrices)
    torch.testing.assert_close(determinants, torch.ones_like(determinants), rtol=0, atol=1e-4)


@fits
@pytest.mark.parametrize("spread", [0.0, 1e-7])
def test_a_set_that_collapsed_stretches_nothing(fit: Fit, spread: float, dimension: int) -> None:
    """Onto a point, a line or a plane, of one set alone: the map is the rotation, and its inverse that of the sets."""
    fixed = points_of(dimension, seed=1)
    for kept in range(dimension):
        moving = points_of(dimension)
        moving[..., kept:] = 4.0 + spread * moving[..., kept:]
        for sets in ((fixed, moving), (moving, fixed)):
            maps = fit(*sets)
            stretch = torch.linalg.svdvals(maps.matrices)
            assert bool((stretch < 1e4).all()) and bool((stretch > 1e-4).all())
            if fit is not affine_fit:
                assert_equal_maps(maps, fit(*sets[::-1]).inverse(), atol=1e-4)


@fits
def test_pairs_without_weights_keep_the_identity(fit: Fit, dimension: int) -> None:
    fixed, moving, weights = degenerate_sets(dimension)["no weights"]
    maps, points = fit(fixed, moving, weights), points_of(dimension, seed=6)
    torch.testing.assert_close(maps(points)[1], points[1], rtol=0, atol=1e-9)
    assert bool((maps(points)[0] != points[0]).any())


def test_points_on_a_line_do_not_turn_about_it() -> None:
    fixed = torch.zeros(1, 5, 3, dtype=torch.float64)
    fixed[0, :, 0] = torch.arange(5)
    torch.testing.assert_close(
        rigid_fit(fixed, fixed + 2).matrices[0], torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-5
    )


@fits
def test_gradients_are_those_of_central_differences(fit: Fit, dimension: int) -> None:
    fixed, moving = (points[:2, :5].clone().requires_grad_() for points in noisy_pair(dimension))
    weights = weights_of()[:2, :5].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda *sets: fit(*sets).matrices, (fixed, moving, weights), eps=1e-5)
    assert torch.autograd.gradcheck(
        lambda *sets: fit(*sets).translations, (fixed, moving, weights), eps=1e-5, atol=1e-4, rtol=1e-4
    )


def test_the_derivative_of_the_nearest_rotation(dimension: int) -> None:
    matrices = random(5, dimension, dimension).requires_grad_()  # some of negative determinant
    assert bool((torch.linalg.det(matrices) < 0).any())
    assert torch.autograd.gradcheck(nearest_rotation, (matrices,), eps=1e-6, atol=1e-6)


def test_nan_stays_in_its_pair(dimension: int) -> None:
    fixed, moving = noisy_pair(dimension)
    fixed[1, 0, 0] = torch.nan
    for fit in (rigid_fit, affine_fit, halfway_affine_fit):
        finite = fit(fixed, moving).matrices.isfinite().all(dim=-1).all(dim=-1)
        assert finite.tolist() == [True, False, True]
    values = spline_fit(fixed, moving, 0.1, 50.0)(points_of(dimension))
    assert values.isfinite().all(dim=-1).all(dim=-1).tolist() == [True, False, True]


def test_shapes_that_do_not_fit_are_refused() -> None:
    points = torch.zeros(2, 5, 3, dtype=torch.float32)
    for fixed, moving in ((points, points[:, :4]), (points[0], points[0]), (points[:, :0], points[:, :0])):
        with pytest.raises(UsageError, match=r"^fixed, moving: expected corresponding points \(B, K, D\)"):
            rigid_fit(fixed, moving)
    with pytest.raises(UsageError, match=r"^weights: expected one of each point, \(2, 5\), got \(2, 4\)"):
        affine_fit(points, points, points[:, :4, 0])
