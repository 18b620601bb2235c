"""Adam's step size over a training."""

from __future__ import annotations

import math

from nephi.training.settings import OptimizationSettings


def learning_rate(step: int, settings: OptimizationSettings) -> float:
    """Return the step size of a step, counted from 0: it warms up linearly, then falls along a cosine if `decay`."""
    warm = round(settings.warmup * settings.steps)
    if step < warm:
        return settings.rate * (step + 1) / warm
    if not settings.decay:
        return settings.rate
    done = (step - warm) / (settings.steps - warm)
    return settings.rate * 0.5 * (1 + math.cos(math.pi * done))
