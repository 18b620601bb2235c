"""Step sizes over the fit, and levels that end early."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nephi.optimize.schedule import CHECK_INTERVAL, Schedule
from nephi.results import Registration
from nephi.settings import FitOptimizationSettings, LevelSettings, Settings


def settings_of(steps: list[int], **optimization: object) -> Settings:
    levels = tuple(LevelSettings(n, 0.0, 3.0) for n in steps)
    return replace(Settings(), optimization=FitOptimizationSettings(**optimization), levels=levels)


def walk(settings: Settings, losses: Tensor) -> tuple[list[float], list[float], list[int]]:
    """Play a fit whose loss at its i-th step is `losses[i]`: shares, rates, and steps taken in each level."""
    schedule = Schedule(settings)
    shares, rates, taken, rows = [], [], [], []
    for level in range(len(settings.levels)):
        count = 0
        for _ in range(settings.levels[level].steps):
            share, rate = schedule.next_step()
            shares.append(share)
            rates.append(rate)
            rows.append(losses[len(rows)].reshape(1))
            count += 1
            if not schedule.advance(level, rows):
                break
        taken.append(count)
    return shares, rates, taken


FALLING = 0.99 ** torch.arange(2000)
FLAT = torch.ones(2000)


def test_every_step_is_taken_while_the_loss_falls() -> None:
    shares, _, taken = walk(settings_of([100, 60, 140]), FALLING)
    assert taken == [100, 60, 140]
    torch.testing.assert_close(torch.tensor(shares), torch.arange(300) / 300)


def test_the_rate_warms_up_linearly_and_falls_along_a_cosine() -> None:
    _, rates, _ = walk(settings_of([100, 100], rate=0.5, warmup=0.1), FALLING)
    torch.testing.assert_close(torch.tensor(rates[:20]), 0.5 * torch.arange(1, 21) / 20)
    decay = torch.tensor(rates[20:])
    assert decay[0] == 0.5
    torch.testing.assert_close(decay[90], torch.tensor(0.25))  # half of the 180 steps
    assert bool((decay.diff() < 0).all())
    assert 0 < decay[-1] < 1e-3 * 0.5
    assert max(rates) == 0.5


def test_without_decay_the_rate_stays() -> None:
    _, rates, _ = walk(settings_of([30], rate=0.5, warmup=0.0, decay=False), FALLING)
    assert set(rates) == {0.5}


@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
def test_rates_stay_between_0_and_the_set_one(warmup: float) -> None:
    _, rates, _ = walk(settings_of([7, 5], warmup=warmup), FALLING)
    assert all(0 < rate <= FitOptimizationSettings().rate for rate in rates)


def test_a_plateau_ends_a_level_early() -> None:
    shares, _, taken = walk(settings_of([100, 100, 150]), FLAT)
    # Two windows of a fifth of the level's steps (at least CHECK_INTERVAL) are compared.
    assert taken[0] == taken[1] == 2 * CHECK_INTERVAL
    # The last level skips to its final third instead, where the small steps settle the result.
    assert taken[2] == 60 + 50
    assert shares[2 * CHECK_INTERVAL] == 100 / 350  # the plan goes on where the level ends, skipped steps included
    assert shares[-50] == 300 / 350


def test_a_rising_loss_is_a_plateau() -> None:
    _, _, taken = walk(settings_of([100, 100]), torch.arange(1.0, 2001.0))
    assert taken[0] == 2 * CHECK_INTERVAL


def test_plateau_0_never_ends_early() -> None:
    _, _, taken = walk(settings_of([100, 100], plateau=0.0), FLAT)
    assert taken == [100, 100]


def test_a_new_level_is_not_judged_by_the_last_one() -> None:
    """The losses of two levels (other smoothing) do not compare: a jump up is no plateau, a jump down no progress."""
    losses = torch.cat([0.9 ** torch.arange(100), 100 * 0.9 ** torch.arange(100)])
    _, _, taken = walk(settings_of([100, 100]), losses)
    assert taken == [100, 100]


def test_short_levels_are_left_alone() -> None:
    _, _, taken = walk(settings_of([5, 1, 8]), FLAT)
    assert taken == [5, 1, 8]


def test_looks_at_the_loss_now_and_then() -> None:
    schedule = Schedule(settings_of([100]))
    looks = []
    rows: list[Tensor] = []
    for step in range(100):
        schedule.next_step()
        looks += [step] if schedule.is_check() else []
        rows.append(FALLING[step].reshape(1))
        schedule.advance(0, rows)
    assert looks == [19, 39, 59, 79, 99]


def test_identical_images_end_early(shapes, quick: Settings) -> None:
    from nephi.optimize import register

    levels = (LevelSettings(100, 3.0, 4.0), LevelSettings(150, 0.0, 3.0))
    result: Registration = register(shapes.fixed, shapes.fixed, settings=replace(quick, levels=levels))
    assert len(result.history) <= 200  # of 250
    points = shapes.landmarks.fixed.coordinates
    # A sixth of a voxel (1.7 mm): what noise-free identity allows after so few steps.
    assert float((result.transform(points) - points).norm(dim=-1).mean()) < 0.28
