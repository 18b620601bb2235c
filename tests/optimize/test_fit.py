"""Fit of neural fields: every similarity, encoding, decoder and penalty, on a 2-D phantom with a known motion."""

from collections.abc import Callable

import pytest
import torch

from nephi.errors import DataError
from nephi.fields import DECODERS, ENCODINGS
from nephi.losses import SIMILARITIES
from nephi.metrics import evaluate, landmark_errors
from nephi.optimize import Progress, register
from nephi.phantoms import PhantomPair
from nephi.results import Registration
from nephi.settings import Settings, with_similarity

Change = Callable[..., Settings]
BEFORE, AFFINE = 3.3, 1.9  # mm, mean landmark distance without any registration and after the affine one


def mean_error(result: Registration, shapes: PhantomPair) -> float:
    return landmark_errors(result.transform, shapes.landmarks).summary()["mean"]


def test_phantom_has_the_errors_that_the_bounds_assume(fitted: Registration, shapes: PhantomPair) -> None:
    assert landmark_errors(lambda x: x, shapes.landmarks).summary()["mean"] == pytest.approx(BEFORE, abs=0.05)
    assert landmark_errors(fitted.stored.affine, shapes.landmarks).summary()["mean"] == pytest.approx(AFFINE, abs=0.3)


def test_fit_is_accurate_smooth_and_consistent(fitted: Registration, shapes: PhantomPair) -> None:
    measures = evaluate(
        fitted.transform,
        landmarks=shapes.landmarks,
        mask=shapes.fixed_mask,
        inverse=fitted.inverse,
        unrefined_inverse=fitted.stored.unrefined_inverse,
    ).table()
    assert measures["tre_mm"]["mean"] < 0.45  # a quarter of a voxel (1.67 x 1.5 mm)
    assert measures["regularity"]["folding_percent"] == 0
    assert measures["regularity"]["smallest"] > 0.5  # the true motion compresses to 0.73 at most
    assert measures["inverse_consistency_mm"] < 1e-3 < measures["unrefined_inverse_mm"] < 0.3


def test_inverse_undoes_the_true_motion(fitted: Registration, shapes: PhantomPair) -> None:
    mapped = fitted.inverse(shapes.landmarks.moving.coordinates)
    assert float((mapped - shapes.landmarks.fixed.coordinates).norm(dim=-1).mean()) < 0.5


def test_history_has_one_row_per_step(fitted: Registration, quick: Settings) -> None:
    assert 90 <= len(fitted.history) <= 120  # a level may end early
    assert set(fitted.history[0]) == {"level", "loss", "similarity", "gradicon", "icon"}
    for row in fitted.history:
        assert row["loss"] == pytest.approx(sum(v for k, v in row.items() if k not in ("level", "loss")), rel=1e-4)
    numbers = [row["level"] for row in fitted.history]
    assert numbers == sorted(numbers) and set(numbers) == {0, 1}
    assert fitted.history[0]["icon"] == 0  # its weight increases from 0
    level = torch.tensor(
        [row["similarity"] for row in fitted.history[:50]]
    )  # losses of different levels are not comparable
    assert level[-10:].mean() < 0.97 * level[:10].mean()


def test_without_an_inverse_field(shapes: PhantomPair, quick: Settings, changed: Change) -> None:
    settings = changed(quick, field={"inverse": False}, objective={"gradicon": 0.0, "icon": 0.0, "diffusion": 0.05})
    result = register(shapes.fixed, shapes.moving, settings=settings)
    assert result.stored.steps[0].pair.inverse_field is None
    assert mean_error(result, shapes) < 1.0
    points = shapes.landmarks.fixed.coordinates
    error = result.inverse(result.transform(points)) - points  # without an initial guess
    assert float(error.norm(dim=-1).max()) < 0.01


@pytest.mark.parametrize("name", sorted(SIMILARITIES))
def test_every_similarity_lowers_the_error(name: str, shapes: PhantomPair, quick: Settings, changed: Change) -> None:
    settings = with_similarity(quick, name)
    if name in ("mse", "ncc", "nmi"):  # global measures compare single points
        settings = changed(settings, objective={"radius": 0, "points": 1500})
    result = register(shapes.fixed, shapes.moving, settings=settings)
    assert mean_error(result, shapes) < (1.2 if name == "mse" else 0.7)
    assert evaluate(result.transform, mask=shapes.fixed_mask).regularity.folding_percent == 0


def test_non_monotonic_contrast(shapes: PhantomPair, quick: Settings, changed: Change) -> None:
    """Signed correlation fails, except if the intensities are matched at each level."""
    data = shapes.moving.data.float()
    unit = (data - data.min()) / (data.max() - data.min())
    moving = shapes.moving.with_data((1000 * (0.5 + 0.4 * torch.cos(5 * unit))).to(torch.int16))
    plain = changed(with_similarity(quick, "pooled"), affine={"similarity": "nmi"})
    matched = changed(plain, optimization={"match_intensities": True})
    errors = [mean_error(register(shapes.fixed, moving, settings=s), shapes) for s in (plain, matched)]
    assert errors[1] < 0.7 < errors[0]


@pytest.mark.parametrize("name", ["mind", "nmi"])
def test_inverted_contrast(name: str, shapes: PhantomPair, quick: Settings, changed: Change) -> None:
    settings = with_similarity(quick, name)
    if name == "nmi":
        settings = changed(settings, objective={"radius": 0, "points": 1500})
    inverted = shapes.moving.with_data((1000 - shapes.moving.data).to(torch.int16))
    result = register(shapes.fixed, inverted, settings=settings)
    assert mean_error(result, shapes) < 0.7


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_fits_with_every_decoder(
    encoding: str, decoder: str, shapes: PhantomPair, quick: Settings, changed: Change
) -> None:
    field = {"encoding": encoding, "decoder": decoder, "frequencies": 24, "hidden": 32, "table_size": 64}
    field["layers"] = 1 if decoder == "silu" else 2
    rate = 1e-2 if decoder == "silu" else 2e-3
    settings = changed(quick, field=field, objective={"points": 192}, optimization={"rate": rate, "plateau": 0.0})
    result = register(shapes.fixed, shapes.moving, settings=settings)
    assert mean_error(result, shapes) < 0.8 * AFFINE
    assert evaluate(result.transform, mask=shapes.fixed_mask).regularity.smallest > 0


@pytest.mark.parametrize(
    ("name", "weight"), [("gradicon", 60.0), ("diffusion", 3.0), ("volume", 3.0), ("bending", 300.0)]
)
def test_large_penalty_weights_smooth_the_map(
    name: str, weight: float, fitted: Registration, shapes: PhantomPair, quick: Settings, changed: Change
) -> None:
    settings = changed(quick, objective={"gradicon": 0.4, name: weight}, optimization={"plateau": 0.0})
    result = register(
        shapes.fixed,
        shapes.moving,
        settings=settings,
        fixed_mask=shapes.fixed_mask,
        moving_mask=shapes.moving_mask,
    )
    assert name in result.history[0]
    spread = [evaluate(r.transform, mask=shapes.fixed_mask).regularity.sd_log_jacobian for r in (result, fitted)]
    assert spread[0] < 0.8 * spread[1]


def test_penalties_prevent_folding(shapes: PhantomPair, quick: Settings, changed: Change) -> None:
    """A much too large step size folds the map, except with the folding penalty and gradient inverse consistency."""
    unstable = changed(
        quick,
        objective={"similarity": "mse", "radius": 0},
        optimization={"rate": 0.1, "plateau": 0.0},
        field={"spacings": (24.0, 12.0, 6.0)},
    )
    without = changed(unstable, objective={"gradicon": 0.0, "icon": 0.0})
    penalized = changed(unstable, objective={"gradicon": 2.0, "folding": 50.0})
    smallest = [
        evaluate(
            register(shapes.fixed, shapes.moving, settings=s, fixed_mask=shapes.fixed_mask).transform,
            mask=shapes.fixed_mask,
        ).regularity.smallest
        for s in (without, penalized)
    ]
    assert smallest[0] < 0
    assert smallest[1] > 0.05


def test_latent_codes_are_shared_and_penalised(shapes: PhantomPair, brief: Settings, changed: Change) -> None:
    settings = changed(brief, field={"global_codes": 3, "local_codes": 2}, objective={"codes": 0.01})
    result = register(shapes.fixed, shapes.moving, settings=settings)
    pair = result.stored.steps[0].pair
    assert pair is not None and pair.inverse_field is not None
    assert pair.forward_field.codes is pair.inverse_field.codes
    assert result.history[-1]["codes"] > 0


def test_number_of_points_is_limited_by_a_fraction_of_the_voxels(
    shapes: PhantomPair, brief: Settings, changed: Change
) -> None:
    """As in NePhi: 2 % of the voxels, at most `points`. Fewer points change the fit, a larger maximum does not."""
    few, same, more = (
        register(
            shapes.fixed, shapes.moving, settings=changed(brief, objective={"fraction": fraction, "points": points})
        )
        for fraction, points in ((0.01, 5000), (0.01, 9000), (0.02, 9000))
    )
    assert few.history == same.history != more.history


@pytest.mark.parametrize("rate", [1e5, 1e15])
def test_divergence_is_an_error(rate: float, shapes: PhantomPair, brief: Settings, changed: Change) -> None:
    settings = changed(brief, optimization={"rate": rate})
    with pytest.raises(DataError, match=r"diverged.*optimization\.rate"):
        register(shapes.fixed, shapes.moving, settings=settings)


def test_progress_increases_through_both_stages(shapes: PhantomPair, quick: Settings) -> None:
    reports: list[Progress] = []
    register(shapes.fixed, shapes.moving, settings=quick, progress=reports.append)
    assert [p.step for p in reports] == sorted({p.step for p in reports})
    assert {p.total for p in reports} == {60 + 120}
    assert reports[-1].step <= reports[-1].total
    stages = [p.stage for p in reports]
    assert stages == sorted(stages) and set(stages) == {"affine", "deformable"}
