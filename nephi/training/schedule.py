"""The learning rate over a training."""

from __future__ import annotations

import math

from nephi.training.settings import OptimizationSettings


def learning_rate(step: int, settings: OptimizationSettings) -> float:
    """Return Adam's step size at a step, from 0: a linear warm-up, then a cosine down to 0 if `decay` is set."""
    warmup_steps = round(settings.warmup * settings.steps)
    if step < warmup_steps:
        return settings.rate * (step + 1) / warmup_steps
    if not settings.decay:
        return settings.rate
    fraction = (step - warmup_steps) / (settings.steps - warmup_steps)
    return settings.rate * 0.5 * (1 + math.cos(math.pi * fraction))
