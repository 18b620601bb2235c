"""Check whether the contrast of one image can be carried over to the other, and the fit where it cannot."""

from __future__ import annotations

from dataclasses import replace

import torch

from nephi.errors import warn
from nephi.geometry import Grid
from nephi.optimize.intensity_matching import explained_fraction
from nephi.preparation import Pair
from nephi.settings import Settings, accepts_any_contrast, in_millimetres, preset, with_similarity

TABLES = ("field", "objective", "optimization", "levels")  # that are replaced
LEAST_EXPLAINED = 1 / 3  # of the variance, by the better of both curves; T1 and a made contrast of a brain: 0.47


def checked_matching(pair: Pair, settings: Settings, seed: int) -> Settings:
    """Return the settings, with a fit by MIND if they match intensities that do not predict each other.

    `pair` is globally aligned; of several matched channels the one counts that is predicted worst. A curve from the
    intensities of one image to those of the other is a good idea where each tissue has one grey value in both, as in
    skull-stripped brains; where air, fat and bone surround an organ it explains little, and would carry over a wrong
    contrast. Then field, objective, optimization and levels are those of the preset `generic` with MIND. A
    `DataWarning` is issued, which names those that were not of the preset `multimodal`.
    """
    channels = [(settings, pair), *((channel.settings, channel.images) for channel in pair.channels)]
    images = [each for own, each in channels if not accepts_any_contrast(own.objective.similarity)]
    if not settings.optimization.match_intensities or not images:
        return settings
    smoothing = settings.levels[0].smoothing
    fractions = [explained_fraction(each, smoothing, torch.Generator().manual_seed(seed)) for each in images]
    fraction = min(fractions)
    if fraction >= LEAST_EXPLAINED:
        return settings
    worst = images[fractions.index(fraction)]
    warn(
        f"{worst.fixed.name} and {worst.moving.name}: the intensities of one image predict {100 * fraction:.0f} % of "
        f"the variance of the other, less than {100 * LEAST_EXPLAINED:.0f} %: they are not matched, but compared by "
        f"MIND (the fit of --preset generic --similarity mind){_replaced(settings)}"
    )
    return with_mind_fit(settings, pair.fixed.grid)


def _replaced(settings: Settings) -> str:
    """Return what the warning says about settings that are replaced though they are not those of the preset."""
    given = preset("multimodal")
    names = [name for name in TABLES if getattr(settings, name) != getattr(given, name)]
    if not names:
        return ""
    return f"; the settings of {', '.join(names)} are not used: optimization.match_intensities = false keeps them"


def with_mind_channels(pair: Pair) -> Pair:
    """Return the pair with further channels compared by MIND, as the first is, unless by `mind` or `nmi` already."""
    grid = pair.fixed.grid
    channels = [
        channel
        if accepts_any_contrast(channel.settings.objective.similarity)
        else replace(channel, settings=with_mind_fit(channel.settings, grid))
        for channel in pair.channels
    ]
    return replace(pair, channels=tuple(channels))


def with_mind_fit(settings: Settings, grid: Grid) -> Settings:
    """Return the settings with the fit of `generic` with MIND; lengths in mm, suited to the fixed `grid`."""
    fit = in_millimetres(with_similarity(preset("generic"), "mind"), grid)
    return replace(settings, **{name: getattr(fit, name) for name in TABLES})
