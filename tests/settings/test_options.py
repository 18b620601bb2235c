"""Common settings by keyword."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import nephi
from nephi import UsageError
from nephi.settings import ChannelSettings, LevelSettings, Settings, with_options

BASE = nephi.preset("lung-ct-fast")


def test_each_option() -> None:
    options = {"transform": "affine", "outside": -7, "threads": np.int64(3), "window": np.array([-5, 9])}
    settings = with_options(BASE, options)
    assert settings == replace(
        BASE, transform="affine", threads=3, image=replace(BASE.image, outside=-7, window=(-5.0, 9.0))
    )
    assert with_options(BASE, {}) == BASE
    assert with_options(BASE, {"similarity": "mind"}) == nephi.settings.with_similarity(BASE, "mind")


def test_levels_as_settings_or_tables() -> None:
    levels = [LevelSettings(5, 2.0, 3.0), {"steps": 7, "smoothing": 1}]
    assert with_options(BASE, {"levels": levels}).levels == (LevelSettings(5, 2.0, 3.0), LevelSettings(7, 1.0))


def test_one_for_each_channel() -> None:
    options = {"similarity": ["mse", "mind"], "window": [(0, 1), [0, 9]]}
    tables = (ChannelSettings("mse", (0.0, 1.0)), ChannelSettings("mind", (0.0, 9.0)))
    assert with_options(BASE, options, channels=2).channels == tables
    assert with_options(BASE, {"window": [(0, 5)]}, channels=2).image.window == (0.0, 5.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"simularity": "mse"}, "simularity: unknown option; expected one of transform, similarity, window, outside,"),
        ({"similarity": "ssd"}, "similarity: expected mse, ncc, .* got 'ssd'"),
        ({"similarity": 3}, "similarity: expected a text or a list"),
        ({"similarity": ["mse", "ncc"]}, "similarity: expected one, got 2"),
        ({"window": (3, 1)}, "window: expected two numbers, low below high"),
        ({"window": (1, 2, 3)}, "window: expected two numbers"),
        ({"window": ()}, "window: expected two numbers"),
        ({"window": "0 1"}, "window: expected a list"),
        ({"window": [(0, 1), (0, 2)]}, "window: expected one, got 2"),
        ({"threads": -1}, "threads: expected 0 or more, got -1"),
        ({"threads": True}, "threads: expected a whole number, got True"),
        ({"transform": "elastic"}, "transform: expected one of rigid, affine, deformable, got 'elastic'"),
        ({"outside": float("nan")}, "outside: expected a finite number"),
        ({"levels": []}, "levels: expected at least one"),
        ({"levels": 3}, "levels: expected a list"),
        ({"levels": [{"step": 3}]}, r"levels\[0\]\.step: unknown setting; expected one of levels\[0\]\.steps"),
        ({"levels": [{"steps": "many"}]}, r"levels\[0\]\.steps: expected a whole number, got 'many'"),
        ({"similarity": None}, "similarity: expected a text or a list"),
    ],
)
def test_unknown_options_and_wrong_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_options(Settings(), options)


def test_register_plan_and_predict_take_them(tmp_path: Any) -> None:
    pair = nephi.phantoms.shapes_phantom(shape=(24, 24))
    planned = nephi.plan(pair.fixed, pair.moving, similarity="mse", threads=2, levels=[{"steps": 3}])
    assert (planned.settings.objective.similarity, planned.threads) == ("mse", 2)
    assert [level.settings.steps for level in planned.levels] == [3]
    result = nephi.register(
        pair.fixed, pair.moving, preset="generic", transform="affine", window=(0, 1), progress=False
    )
    assert result.settings.transform == "affine" and result.settings.image.window == (0.0, 1.0)
    for call in (nephi.register, nephi.plan):
        with pytest.raises(UsageError, match="simularity: unknown option; expected one of transform, similarity"):
            call(pair.fixed, pair.moving, simularity="mse")  # type: ignore[operator]
    (tmp_path / "s.toml").write_text('[affine]\nkind = "rigid"\n', encoding="utf-8")
    assert nephi.plan(pair.fixed, pair.moving, settings=tmp_path / "s.toml").settings.affine.kind == "rigid"


def test_initial_alignment_of_a_file(tmp_path: Any) -> None:
    pair = nephi.phantoms.shapes_phantom(shape=(24, 24))
    shift = nephi.AffineTransform.translation(np.array([1.5, 0.0]))
    nephi.io.write_affine(tmp_path / "shift.tfm", shift)
    affine = replace(Settings().affine, steps=1, rate=1e-12)
    settings = Settings(transform="rigid", affine=affine)
    result = nephi.register(pair.fixed, pair.moving, settings=settings, initial=str(tmp_path / "shift.tfm"))
    np.testing.assert_allclose(result.stored.affine.matrix.numpy(), shift.matrix.numpy(), atol=1e-6)
    with pytest.raises(UsageError, match=r"initial: expected one of auto, .*, got 'sideways'"):
        nephi.plan(pair.fixed, pair.moving, initial="sideways")
    with pytest.raises(nephi.DataError, match=r"missing\.tfm"):
        nephi.plan(pair.fixed, pair.moving, initial="missing.tfm")
    with pytest.raises(UsageError, match="seed: expected a whole number from 0"):
        nephi.plan(pair.fixed, pair.moving, seed=-1)
