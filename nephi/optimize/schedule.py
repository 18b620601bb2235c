"""Step sizes over the fit, and when a level has done its work."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nephi.settings import Settings

EVERY = 20  # steps between looks at the loss: each look waits for the device


class Schedule:
    """Walk through the planned steps of all levels.

    The step size warms up linearly and falls along a cosine over the whole plan. A level whose loss no longer falls is
    left early; the last level then skips to its final third, where the small steps settle the result.
    """

    def __init__(self, settings: Settings) -> None:
        self.optimization = settings.optimization
        steps = [level.steps for level in settings.levels]
        self.ends = [sum(steps[: i + 1]) for i in range(len(steps))]
        self.position = 0  # steps of the plan behind us, skipped ones included
        self._first_row = 0  # row of the loss history in which the level began
        self._skipped = False

    def begin(self, level: int) -> tuple[float, float]:
        """Return the share of the plan that lies behind the next step, and its step size."""
        share = self.position / self.ends[-1]
        if share < self.optimization.warmup:
            return share, self.optimization.rate * (share + 1 / self.ends[-1]) / self.optimization.warmup
        if not self.optimization.decay:
            return share, self.optimization.rate
        done = (share - self.optimization.warmup) / (1 - self.optimization.warmup)
        return share, self.optimization.rate * 0.5 * (1 + math.cos(math.pi * done))

    def checks(self) -> bool:
        """Tell whether the loss is looked at after this step."""
        return self.position % EVERY == EVERY - 1

    def goes_on(self, level: int, rows: list[Tensor]) -> bool:
        """Count the step just done; tell whether the level has another one."""
        self.position += 1
        end = self.ends[level]
        if self.position % EVERY == 0 and self._plateau(rows, end - (self.ends[level - 1] if level else 0)):
            if level < len(self.ends) - 1:
                self.position = end
            elif not self._skipped:
                self._skipped = True
                self.position = max(self.position, end - (end - (self.ends[level - 1] if level else 0)) // 3)
        if self.position >= end:
            self._first_row = len(rows)
        return self.position < end

    def _plateau(self, rows: list[Tensor], planned: int) -> bool:
        """Tell whether the mean loss of the last fifth of the level's steps is lower by less than the set share."""
        window = max(EVERY, planned // 5)
        if not self.optimization.plateau or len(rows) - self._first_row < 2 * window:
            return False
        losses = torch.stack([row[0] for row in rows[-2 * window :]])
        before, now = losses[:window].mean(), losses[window:].mean()
        return bool(before - now < self.optimization.plateau * before.abs())
