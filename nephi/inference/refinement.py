"""From what a network predicted to what a fit would have found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from nephi.errors import UsageError
from nephi.fields import ComposedFieldPair, FieldPair, latent_parameters
from nephi.optimize import ProgressCallback, fit_fields
from nephi.preparation import Pair
from nephi.settings import Settings
from nephi.transforms import AffineTransform

REFINED = ("codes", "all")
TAIL = 2  # levels of the schedule that a refinement goes through
LARGEST = 2.0  # times the step size of the whole schedule
SINES = 5e-4  # the largest step size that sine networks bear; ten times as much tears them apart


@dataclass(frozen=True)
class Refinement:
    """`steps` of the ordinary fit, from a prediction on: of `all` parameters, or of the latent `codes` alone.

    Codes are what the network predicts for a pair (latent codes and the tables of dense grids); the decoders stay.
    """

    steps: int = 0
    what: str = "all"

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UsageError(f"refine: expected 0 steps or more, got {self.steps}")
        if self.what not in REFINED:
            raise UsageError(f"refine_what: expected one of {', '.join(REFINED)}, got {self.what!r}")


def shortened(settings: Settings, refinement: Refinement) -> Settings:
    """Return settings whose schedule is the end of that of `settings`, so many steps in all, and larger ones.

    The last two levels share the steps as they did; the coarser ones are for what a prediction has found. The step size
    warms up and falls to 0 as ever, from a height that makes up for their number. Measured on `lung_ct` from starts of
    2.4, 3.6 and 5.0 mm, 100 steps of these end at 1.19, 1.20 and 1.22 mm; of the last level alone, at the size of 290
    steps, at 1.25, 1.43 and 1.91 mm. Sine decoders take small steps whatever the settings say.
    """
    steps = refinement.steps
    *before, last = settings.levels[-TAIL:]
    planned = sum(level.steps for level in settings.levels)
    tail = sum(level.steps for level in (*before, last))
    shares = [round(steps * level.steps / tail) for level in before]
    kept = [replace(level, steps=n) for level, n in zip(before, shares, strict=True) if 0 < n < steps]
    levels = (*kept, replace(last, steps=steps - sum(level.steps for level in kept)))
    rate = settings.optimization.rate * min(LARGEST, max(1.0, math.sqrt(planned / steps)))
    if refinement.what == "all" and settings.field.decoder != "silu":
        rate = min(rate, SINES)
    return replace(settings, levels=levels, optimization=replace(settings.optimization, rate=rate))


def refine(
    pairs: Sequence[FieldPair],
    shift: AffineTransform,
    images: Pair,
    what: str,
    settings: Settings,
    generator: torch.Generator,
    progress: ProgressCallback,
) -> list[dict[str, float]]:
    """Fit predicted fields further, in place; return the history, as `fit_fields` does.

    `pairs` are applied one after the other, and then `shift`; they are fitted together, over `settings.levels`.
    """
    for fields in pairs:
        fields.requires_grad_(what == "all")
        for parameter in latent_parameters(fields):
            parameter.requires_grad_(True)
    together = pairs[0] if len(pairs) == 1 else ComposedFieldPair(pairs)
    aligned = images.with_moving_transformed(shift.inverse().matrix).to(pairs[0].forward_field.device)
    total = sum(level.steps for level in settings.levels)
    return fit_fields(aligned, together, settings, generator, progress, 0, total)
