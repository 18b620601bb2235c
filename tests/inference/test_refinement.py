"""The shortened schedule of a refinement."""

from dataclasses import replace

import pytest

from nephi.inference import Refinement, refinement_schedule
from nephi.settings import preset


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 100, 290, 1000])
@pytest.mark.parametrize("name", ["lung-ct", "generic", "idir"])
def test_steps_in_all_of_the_last_levels(name: str, steps: int) -> None:
    settings = preset(name)
    found = refinement_schedule(settings, Refinement(steps))
    assert sum(level.steps for level in found.levels) == steps
    last = settings.levels[-len(found.levels) :]
    for level, other in zip(found.levels, last, strict=True):
        assert replace(level, steps=other.steps) == other
    assert len(found.levels) == min(2, len(settings.levels)) or steps < 3
    assert settings.optimization.rate <= found.optimization.rate <= 2 * settings.optimization.rate
    assert replace(found, levels=settings.levels, optimization=settings.optimization) == settings


def test_fewer_steps_are_larger() -> None:
    settings = preset("lung-ct")
    rates = [
        refinement_schedule(settings, Refinement(steps)).optimization.rate / settings.optimization.rate
        for steps in (20, 100, 200, 290, 400)
    ]
    assert rates[0] == 2.0 and rates[3:] == [1.0, 1.0]
    assert rates[0] > rates[1] > rates[2] > rates[3]


def test_sine_networks_take_small_steps() -> None:
    settings = preset("generic")
    sines = replace(settings, field=replace(settings.field, decoder="gated-sine"))
    assert refinement_schedule(sines, Refinement(50)).optimization.rate == 5e-4
    assert (
        refinement_schedule(sines, Refinement(50, "codes")).optimization.rate
        == refinement_schedule(settings, Refinement(50)).optimization.rate
        > 1e-2
    )
