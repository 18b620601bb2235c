"""Settings refuse what cannot be fitted, when they are made."""

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import torch

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.losses import LOCAL, SIMILARITIES
from nephi.settings import (
    AffineSettings,
    FitObjectiveSettings,
    FitOptimizationSettings,
    ImageSettings,
    LevelSettings,
    Settings,
    TrainingObjectiveSettings,
    bounded_detail,
    preset,
    preset_names,
    with_similarity,
    with_training_similarity,
)
from nephi.settings.changes import in_millimetres

WRONG = [
    (ImageSettings, {"window": (1.0,)}, "image.window"),
    (ImageSettings, {"window": (200.0, -1000.0)}, "image.window"),
    (ImageSettings, {"window": (math.nan, 1.0)}, "image.window"),
    (ImageSettings, {"percentiles": (-1.0, 50.0)}, "image.percentiles"),
    (ImageSettings, {"percentiles": (50.0, 50.0)}, "image.percentiles"),
    (ImageSettings, {"percentiles": (0.0, 100.5)}, "image.percentiles"),
    (ImageSettings, {"mask": "liver"}, "image.mask"),
    (ImageSettings, {"outside": math.nan}, "image.outside"),
    (AffineSettings, {"kind": "similarity"}, "affine.kind"),
    (AffineSettings, {"initial": "center"}, "affine.initial"),
    (AffineSettings, {"similarity": "ssd"}, "ssd"),
    (AffineSettings, {"steps": 0}, "affine.steps"),
    (AffineSettings, {"points": 0}, "affine.points"),
    (AffineSettings, {"rate": 0.0}, "affine.rate"),
    (AffineSettings, {"smoothing": (-3.0,)}, "affine.smoothing"),
    (AffineSettings, {"smoothing": ()}, "affine.smoothing"),  # no stage, no fit
    (AffineSettings, {"rotations": 0}, "affine.rotations"),
    (AffineSettings, {"reach": 200.0}, "affine.reach"),
    (AffineSettings, {"rate": math.inf}, "affine.rate"),
    (LevelSettings, {"steps": 0}, "steps"),
    (LevelSettings, {"smoothing": -1.0}, "smoothing"),
    (LevelSettings, {"smoothing": math.nan}, "smoothing"),
    (LevelSettings, {"spacing": 0.0}, "spacing"),
    (FitObjectiveSettings, {"regularization_points": -1}, "objective.regularization_points"),
    (FitObjectiveSettings, {"background_points": -1}, "objective.background_points"),
    (FitObjectiveSettings, {"gradicon": -0.1}, "objective.gradicon"),
    (FitObjectiveSettings, {"icon": math.inf}, "objective.icon"),
    (FitObjectiveSettings, {"bending_step": 0.0}, "objective.bending_step"),
    (FitObjectiveSettings, {"similarity": "ssd"}, "ssd"),
    (FitObjectiveSettings, {"points": 0}, "objective.points"),
    (FitObjectiveSettings, {"radius": -1}, "objective.radius"),
    (FitObjectiveSettings, {"radius": 0}, "objective.radius"),  # lncc2 has no correlation within one sample
    (FitObjectiveSettings, {"similarity": "mind"}, "objective.radius"),
    (FitOptimizationSettings, {"rate": -1e-3}, "optimization.rate"),
    (FitObjectiveSettings, {"fraction": -0.1}, "objective.fraction"),
    (FitOptimizationSettings, {"plateau": math.nan}, "optimization.plateau"),
    (Settings, {"transform": "bspline"}, "transform"),
    (Settings, {"threads": -1}, "threads"),
    (Settings, {"length_unit": -1.0}, "length_unit"),
    (Settings, {"detail_unit": -1.0}, "detail_unit"),
    (Settings, {"levels": ()}, "levels"),
]
TOO_LARGE = [
    (ImageSettings, {"window": (1e-300, 1e300)}, "image.window"),
    (ImageSettings, {"outside": 1e300}, "image.outside"),
    (AffineSettings, {"rotations": 10**12}, "affine.rotations"),
    (AffineSettings, {"points": 10**12}, "affine.points"),
    (AffineSettings, {"steps": 10**12}, "affine.steps"),
    (AffineSettings, {"rate": 1e300}, "affine.rate"),
    (AffineSettings, {"smoothing": (1e300,)}, "affine.smoothing"),
    (LevelSettings, {"steps": 10**12}, "levels.steps"),
    (LevelSettings, {"spacing": 1e-300}, "levels.spacing"),
    (FitObjectiveSettings, {"variance_floor": 1e300}, "objective.variance_floor"),
    (FitObjectiveSettings, {"points": 10**12}, "objective.points"),
    (FitObjectiveSettings, {"background_points": 10**12}, "objective.background_points"),
    (FitObjectiveSettings, {"radius": 1000}, "objective.radius"),
    (FitObjectiveSettings, {"gradicon": 1e300}, "objective.gradicon"),
    (FitOptimizationSettings, {"warmup": 1.5}, "optimization.warmup"),
    (Settings, {"threads": 10**9}, "threads"),
    (Settings, {"length_unit": 1e300}, "length_unit"),
    (Settings, {"length_unit": 1e-300}, "length_unit"),
    (Settings, {"detail_unit": 1e300}, "detail_unit"),
    (Settings, {"detail_unit": 1e-300}, "detail_unit"),
]
"""Numbers that would overflow, or fill the memory, in the middle of a fit."""
WRONG_TOGETHER = [
    (ImageSettings, {"window": (-math.inf, math.inf)}, "image.window"),
    (AffineSettings, {"smoothing": (math.nan,)}, "affine.smoothing"),
    (AffineSettings, {"similarity": "lncc2"}, "affine.similarity"),  # single points have no local correlation
    (AffineSettings, {"similarity": "mind"}, "affine.similarity"),
]


@pytest.mark.parametrize(("kind", "values", "named"), WRONG + TOO_LARGE)
def test_refuses(kind: Callable[..., Any], values: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named) as error:
        kind(**values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("kind", "values", "named"), WRONG_TOGETHER)
def test_refuses_what_fails_later(kind: Callable[..., Any], values: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        kind(**values)


def test_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().optimization.rate = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("name", ["mse", "ncc", "lncc", "lncc2", "mind", "nmi"])
def test_with_similarity_makes_settings_that_hold(name: str) -> None:
    settings = with_similarity(Settings(), name)
    assert settings.objective.similarity == name
    assert settings.objective.radius == (2 if name == "mind" else Settings().objective.radius)
    assert settings.affine.similarity == {"mind": "nmi", "nmi": "nmi", "mse": "mse"}.get(name, "ncc")


@pytest.mark.parametrize("window", [0.0, 10.0])
def test_another_similarity_of_a_training_holds(window: float) -> None:
    names = "lncc" if window else "ncc"
    objective = TrainingObjectiveSettings(similarity=names, window=window, points=100)
    for name in SIMILARITIES:
        changed = with_training_similarity(objective, name)
        assert changed.similarity == name and replace(changed, similarity=names, radius=0, window=window) == objective
        assert changed.has_patches == (name in LOCAL)
        assert (changed.radius == 2) == (name == "mind") and (not changed.window or name != "mind")
    with pytest.raises(UsageError, match="similarity"):
        with_training_similarity(objective, "ssd")


def test_with_similarity_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"lncc2.*, got 'ssd'"):
        with_similarity(Settings(), "ssd")


def test_lengths_in_millimetres_scale_with_the_unit() -> None:
    settings = Settings(length_unit=0.5)
    scaled = in_millimetres(settings, Grid.from_spacing((10, 10), [1.0, 1.0]))
    assert scaled.length_unit == 1.0
    assert scaled.field.spacings == tuple(0.5 * s for s in settings.field.spacings)
    assert scaled.field.amplitude == 0.5 * settings.field.amplitude
    assert scaled.affine.smoothing == tuple(0.5 * s for s in settings.affine.smoothing)
    assert [v.spacing for v in scaled.levels] == [0.5 * v.spacing for v in settings.levels]
    assert [v.steps for v in scaled.levels] == [v.steps for v in settings.levels]
    assert scaled.objective.icon == settings.objective.icon / 0.25  # per mm^2
    assert scaled.objective.gradicon == settings.objective.gradicon  # dimensionless
    assert in_millimetres(scaled, Grid.from_spacing((10, 10), [1.0, 1.0])) == scaled


def test_unit_0_is_a_256th_of_the_longest_edge() -> None:
    grid = Grid.from_spacing((64, 32, 16), [2.0, 8.0, 1.0])  # edges of 128, 256 and 16 mm
    assert in_millimetres(Settings(length_unit=0.0), grid) == Settings()


def test_lengths_of_the_fit_in_detail_lengths(changed: Callable[..., Settings]) -> None:
    """Fields, objective and levels follow the images' detail, the affine step and guidance the other unit."""
    grid = Grid.from_spacing((128, 96), [2.0, 2.0])  # edges of 256 and 192 mm
    settings = changed(Settings(length_unit=0.0, detail_unit=2.0), guidance={"accuracy": 3.0})
    scaled = in_millimetres(settings, grid, detail=1.5)
    assert scaled.length_unit == 1 and scaled.detail_unit == 0
    assert scaled.field.spacings == tuple(3 * s for s in settings.field.spacings)
    assert scaled.field.amplitude == 3 * settings.field.amplitude
    assert scaled.objective.icon == pytest.approx(settings.objective.icon / 9)
    assert [v.smoothing for v in scaled.levels] == [3 * v.smoothing for v in settings.levels]
    assert scaled.affine == settings.affine and scaled.guidance == settings.guidance
    assert in_millimetres(scaled, grid) == scaled
    with pytest.raises(UsageError, match="detail: expected the detail length"):
        in_millimetres(settings, grid)


@pytest.mark.parametrize(("shape", "cells"), [((4096, 1024), 2**16), ((512, 256, 128), 2**17)])
def test_detail_is_bounded_by_the_size_of_the_image(shape: tuple[int, ...], cells: int) -> None:
    """Below by a number of cells, whatever the shape of the box, above by a fraction of the longest edge."""
    for size in (0.01, 1.0):
        grid = Grid.from_spacing(shape, [size] * len(shape))
        finest = bounded_detail(1e-3 * size, grid)
        assert math.prod(shape) * (size / finest) ** len(shape) == pytest.approx(cells)
        assert bounded_detail(1e6, grid) == pytest.approx(size * shape[0] / 24)
        assert finest < bounded_detail(size * shape[0] / 30, grid) == size * shape[0] / 30


def test_an_amplitude_in_edges_has_no_millimetres(changed: Callable[..., Settings]) -> None:
    settings = changed(Settings(length_unit=0.5), field={"amplitude_unit": "edge", "amplitude": 0.5})
    assert in_millimetres(settings, Grid.from_spacing((4, 4), [1.0, 1.0])).field.amplitude == 0.5


@pytest.mark.parametrize("name", preset_names())
def test_presets_suit_small_and_large_images(name: str) -> None:
    for size in (0.01, 1.0, 30.0):
        settings = in_millimetres(preset(name), Grid.from_spacing((50, 40, 30), [size] * 3), detail=2.5 * size)
        assert all(torch.isfinite(torch.tensor(settings.field.spacings)))


def test_weights_that_the_fields_cannot_use_are_refused_by_name() -> None:
    settings = Settings()
    with pytest.raises(UsageError, match=r"objective\.gradicon: expected 0 for .*inverse = false \(no inverse"):
        replace(settings, field=replace(settings.field, inverse=False))
    assert not replace(settings, field=replace(settings.field, inverse=False), transform="rigid").field.inverse
    one_way = replace(settings.objective, gradicon=0.0, icon=0.0)
    assert not replace(settings, field=replace(settings.field, inverse=False), objective=one_way).field.inverse
    with pytest.raises(UsageError, match=r"objective\.icon: .*inverse"):
        replace(settings, field=replace(settings.field, inverse=False), objective=replace(one_way, icon=1.0))
    waves, codes = replace(settings.field, encoding="fourier"), replace(settings.objective, codes=0.5)
    with pytest.raises(UsageError, match=r"objective\.codes: expected 0 for .*'fourier'.* latent values\), got 0\.5"):
        replace(settings, field=waves, objective=codes)
    assert replace(settings, field=replace(waves, local_codes=2), objective=codes).objective.codes == 0.5


def test_regularization_needs_points() -> None:
    with pytest.raises(UsageError, match=r"objective\.gradicon: expected regularization_points or background_points"):
        FitObjectiveSettings(regularization_points=0, background_points=0)
    FitObjectiveSettings(regularization_points=0, background_points=0, gradicon=0.0, icon=0.0)


def test_trainings_and_fits_check_their_own_settings() -> None:
    for wrong in ({"points": 1}, {"gradicon": -1.0}, {"landmark_points": 0}, {"spacing": 0.0}, {"landmarks": -1.0}):
        with pytest.raises(UsageError, match=f"objective.{next(iter(wrong))}: expected"):
            TrainingObjectiveSettings(**wrong)
