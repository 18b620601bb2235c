"""The preset for fine detail registers it, in 2-D and 3-D."""

from dataclasses import replace

from nephi.metrics import landmark_errors
from nephi.optimize import register
from nephi.phantoms import PhantomPair, ribbon_phantom
from nephi.settings import Settings, preset


def error(pair: PhantomPair, settings: Settings) -> float:
    result = register(pair.fixed, pair.moving, settings=settings)
    return float(landmark_errors(result.transform, pair.landmarks).after.mean())


def test_is_more_accurate_than_generic_in_2d() -> None:
    pair = ribbon_phantom(1, 128, 0.7, 2)
    errors = [error(pair, preset(name)) for name in ("generic", "generic-best")]
    assert errors[1] < 0.9 * errors[0]


def test_registers_volumes() -> None:
    """With a part of its steps."""
    pair = ribbon_phantom(0, 40, 1.3, 3)
    settings = preset("generic-best")
    settings = replace(settings, levels=tuple(replace(level, steps=level.steps // 3) for level in settings.levels))
    before = float((pair.landmarks.fixed.coordinates - pair.landmarks.moving.coordinates).norm(dim=1).mean())
    assert error(pair, settings) < 0.4 * before
