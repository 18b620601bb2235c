"""Step sizes during the fit, and levels that end early."""

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
    """Run a schedule with loss `losses[i]` at step i; return fraction and rate of each step, and steps per level."""
    schedule = Schedule(settings)
    fractions, rates, counts, rows = [], [], [], []
    for level in range(len(settings.levels)):
        count = 0
        for _ in range(settings.levels[level].steps):
            fraction, rate = schedule.next_step()
            fractions.append(fraction)
            rates.append(rate)
            rows.append(losses[len(rows)].reshape(1))
            count += 1
            if not schedule.advance(level, rows):
                break
        counts.append(count)
    return fractions, rates, counts


def test_warmup_shorter_than_a_step() -> None:
    """The first of ten steps is longer than a warm-up of 5 %, and has the step size of the settings."""
    _, rates, _ = walk(settings_of([10], rate=0.01, warmup=0.05, decay=False, plateau=0.0), FALLING)
    assert max(rates) == 0.01 and rates[0] == 0.01


FALLING = 0.99 ** torch.arange(2000)
FLAT = torch.ones(2000)


def test_all_steps_are_taken_while_the_loss_decreases() -> None:
    fractions, _, counts = walk(settings_of([100, 60, 140]), FALLING)
    assert counts == [100, 60, 140]
    torch.testing.assert_close(torch.tensor(fractions), torch.arange(300) / 300)


def test_rate_increases_linearly_and_decreases_by_a_cosine() -> None:
    _, rates, _ = walk(settings_of([100, 100], rate=0.5, warmup=0.1), FALLING)
    torch.testing.assert_close(torch.tensor(rates[:20]), 0.5 * torch.arange(1, 21) / 20)
    decay = torch.tensor(rates[20:])
    assert decay[0] == 0.5
    torch.testing.assert_close(decay[90], torch.tensor(0.25))  # half of the 180 steps
    assert bool((decay.diff() < 0).all())
    assert 0 < decay[-1] < 1e-3 * 0.5
    assert max(rates) == 0.5


def test_rate_without_decay_is_constant() -> None:
    _, rates, _ = walk(settings_of([30], rate=0.5, warmup=0.0, decay=False), FALLING)
    assert set(rates) == {0.5}


@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
def test_rates_are_positive_and_at_most_the_setting(warmup: float) -> None:
    _, rates, _ = walk(settings_of([7, 5], warmup=warmup), FALLING)
    assert all(0 < rate <= FitOptimizationSettings().rate for rate in rates)


def test_plateau_ends_a_level_early() -> None:
    fractions, _, counts = walk(settings_of([100, 100, 150]), FLAT)
    # Two windows of a fifth of the level's steps (at least CHECK_INTERVAL) are compared.
    assert counts[0] == counts[1] == 2 * CHECK_INTERVAL
    # The last level skips to its final third instead, because the small steps refine the result.
    assert counts[2] == 60 + 50
    assert fractions[2 * CHECK_INTERVAL] == 100 / 350  # skipped steps count as taken
    assert fractions[-50] == 300 / 350


def test_increasing_loss_is_a_plateau() -> None:
    _, _, counts = walk(settings_of([100, 100]), torch.arange(1.0, 2001.0))
    assert counts[0] == 2 * CHECK_INTERVAL


def test_plateau_0_never_ends_early() -> None:
    _, _, counts = walk(settings_of([100, 100], plateau=0.0), FLAT)
    assert counts == [100, 100]


def test_losses_of_two_levels_are_not_compared() -> None:
    """With other smoothing, an increase between levels is not a plateau, and a decrease not progress."""
    losses = torch.cat([0.9 ** torch.arange(100), 100 * 0.9 ** torch.arange(100)])
    _, _, counts = walk(settings_of([100, 100]), losses)
    assert counts == [100, 100]


def test_short_levels_do_not_end_early() -> None:
    _, _, counts = walk(settings_of([5, 1, 8]), FLAT)
    assert counts == [5, 1, 8]


def test_loss_is_checked_at_regular_steps() -> None:
    schedule = Schedule(settings_of([100]))
    checks = []
    rows: list[Tensor] = []
    for step in range(100):
        schedule.next_step()
        checks += [step] if schedule.is_check() else []
        rows.append(FALLING[step].reshape(1))
        schedule.advance(0, rows)
    assert checks == [19, 39, 59, 79, 99]


def test_fit_of_identical_images_ends_early(shapes, quick: Settings) -> None:
    from nephi.optimize import register

    levels = (LevelSettings(100, 3.0, 4.0), LevelSettings(150, 0.0, 3.0))
    result: Registration = register(shapes.fixed, shapes.fixed, settings=replace(quick, levels=levels))
    assert len(result.history) <= 200  # of 250
    points = shapes.landmarks.fixed.coordinates
    # A sixth of a voxel (1.7 mm), the accuracy after few steps.
    assert float((result.transform(points) - points).norm(dim=-1).mean()) < 0.28
