"""Step sizes over the fit, and the end of a level whose loss no longer falls."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nephi.settings import Settings

CHECK_INTERVAL = 20  # steps: on a GPU reading the loss waits for the device


class Schedule:
    """The planned steps of all levels.

    The step size warms up linearly and falls along a cosine over the whole plan. A level whose loss no longer falls
    ends early; the last level then skips to its final third, whose small steps refine the result.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings.optimization
        steps = [level.steps for level in settings.levels]
        self.ends = [sum(steps[: i + 1]) for i in range(len(steps))]
        self.position = 0  # number of planned steps before the next one, skipped ones included
        self._first_row = 0  # row of the loss history in which the level began
        self._skipped = False

    def next_step(self) -> tuple[float, float]:
        """Return the fraction of the plan that is done before the next step, and the size of that step."""
        settings, total = self.settings, self.ends[-1]
        fraction = self.position / total
        if fraction < settings.warmup:
            return fraction, min(settings.rate, settings.rate * (fraction + 1 / total) / settings.warmup)
        if not settings.decay:
            return fraction, settings.rate
        decayed = (fraction - settings.warmup) / (1 - settings.warmup)
        return fraction, settings.rate * 0.5 * (1 + math.cos(math.pi * decayed))

    def is_check(self) -> bool:
        """Return whether the loss is read after this step."""
        return self.position % CHECK_INTERVAL == CHECK_INTERVAL - 1

    def advance(self, level: int, rows: list[Tensor]) -> bool:
        """Count the step just taken, the last of `rows`; return whether the level has another one."""
        self.position += 1
        end = self.ends[level]
        planned = end - (self.ends[level - 1] if level else 0)
        if self.position % CHECK_INTERVAL == 0 and self._is_plateau(rows, planned):
            if level < len(self.ends) - 1:
                self.position = end
            elif not self._skipped:
                self._skipped = True
                self.position = max(self.position, end - planned // 3)
        if self.position >= end:
            self._first_row = len(rows)
        return self.position < end

    def _is_plateau(self, rows: list[Tensor], planned: int) -> bool:
        """Return whether the mean loss of the level's last fifth of steps is lower by less than the set fraction."""
        window = max(CHECK_INTERVAL, planned // 5)
        if not self.settings.plateau or len(rows) - self._first_row < 2 * window:
            return False
        losses = torch.stack([row[0] for row in rows[-2 * window :]])
        earlier, later = losses[:window].mean(), losses[window:].mean()
        return bool(earlier - later < self.settings.plateau * earlier.abs())
