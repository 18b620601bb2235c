"""Coordinates of the report's charts, which its templates draw as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

WIDTH, HEIGHT = 640.0, 220.0  # of a drawing, in SVG units
BARS = 12  # of a histogram, at most


@dataclass(frozen=True)
class Tick:
    """A tick of an axis: its position in the drawing, and its label."""

    position: float
    label: str


@dataclass(frozen=True)
class Level:
    """A level of the fit on the loss curve: its left and right end, and the loss of its steps as `x,y x,y ...`.

    `mean` is the same for the running mean over a tenth of the level; `first` and `last` are that mean at the ends.
    """

    number: int
    left: float
    right: float
    line: str
    mean: str
    steps: int
    first: float
    last: float


@dataclass(frozen=True)
class LossChart:
    """The loss of every step, level by level, in a drawing of `WIDTH` x `HEIGHT`."""

    levels: list[Level]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: its position in the drawing, and the range and number of the values it counts."""

    left: float
    width: float
    height: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Histogram:
    """Counts of values in ranges of equal width, in a drawing of `WIDTH` x `HEIGHT`."""

    bars: list[Bar]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def loss_chart(history: Sequence[Mapping[str, float]]) -> LossChart | None:
    """Return the chart of a loss history (one row a step, with `loss` and `level`); None for an empty history."""
    if not history:
        return None
    losses = np.array([row["loss"] for row in history])
    low, high = float(losses.min()), float(losses.max())
    high = high if high > low else low + 1
    scale_x, scale_y = WIDTH / max(1, len(losses) - 1), HEIGHT / (high - low)

    def line(start: int, values: Values) -> str:
        return " ".join(f"{(start + i) * scale_x:.1f},{(high - v) * scale_y:.1f}" for i, v in enumerate(values))

    levels = []
    start = 0
    for number, rows in groupby(int(row["level"]) for row in history):
        stop = start + len(list(rows))
        values = losses[start:stop]
        mean = running_mean(values, max(1, len(values) // 10))
        ends = start * scale_x, (stop - 1) * scale_x
        lines = line(start, values), line(start, mean)
        levels.append(Level(number, *ends, *lines, stop - start, float(mean[0]), float(mean[-1])))
        start = stop
    x_ticks = [Tick(v * scale_x, f"{v:g}") for v in round_numbers(0, len(losses) - 1, 6)]
    y_ticks = [Tick((high - v) * scale_y, f"{v:g}") for v in round_numbers(low, high, 5)]
    return LossChart(levels, x_ticks, y_ticks)


def running_mean(values: Values, window: int) -> Values:
    """Return the mean of each value and its neighbours, up to `window` on either side."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    indices = np.arange(len(values))
    first, stop = np.maximum(indices - window, 0), np.minimum(indices + window + 1, len(values))
    return (sums[stop] - sums[first]) / (stop - first)


def histogram(values: Sequence[float]) -> Histogram:
    """Return the histogram of at least one value, all of 0 or more, with bars of a round width."""
    width = round_step(max(max(values), 1e-9) / BARS)
    number = max(1, math.ceil(max(values) / width - 1e-9))
    counts = np.bincount([min(number - 1, int(v / width)) for v in values], minlength=number).tolist()
    scale_x, scale_y = WIDTH / number, HEIGHT / max(counts)
    bars = [
        Bar(i * scale_x, scale_x, count * scale_y, i * width, (i + 1) * width, count) for i, count in enumerate(counts)
    ]
    x_ticks = [Tick(v / width * scale_x, f"{v:g}") for v in round_numbers(0, number * width, 8)]
    y_ticks = [Tick(HEIGHT - v * scale_y, f"{v:g}") for v in round_numbers(0, max(counts), 4) if v == int(v)]
    return Histogram(bars, x_ticks, y_ticks)


def round_numbers(low: float, high: float, count: int) -> list[float]:
    """Return the multiples of a round step from `low` to `high`, at most about `count` of them."""
    if not high > low:
        return [low]
    step = round_step((high - low) / count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def round_step(minimum: float) -> float:
    """Return the smallest of ..., 0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5, 10, ... that is at least `minimum` (above 0)."""
    power = 10.0 ** math.floor(math.log10(minimum))
    return next((s * power for s in (1.0, 2.0, 2.5, 5.0) if s * power >= minimum * (1 - 1e-9)), 10 * power)
