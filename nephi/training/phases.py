"""Phases of a training: steps with another objective, or with fewer of the model's composed steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from nephi.errors import UsageError
from nephi.settings import TrainingObjectiveSettings
from nephi.settings.validation import MOST_STEPS, require_at_least
from nephi.tables import from_table


@dataclass(frozen=True)
class PhaseSettings:
    """A part of the training's steps that differs from the rest.

    The phases follow each other from the first step on. All steps after the last phase use the settings of the other
    tables, and all of the model. The step size follows one schedule over all phases.

    steps: number of steps of the training.
    network_steps: number of the model's composed steps that are used and trained, the first ones; 0 for all. No phase
        uses fewer than the phase before. Steps not in use yet are the identity.
    frozen_steps: number of the composed steps, the first ones, that are used but not trained.
    objective: settings of the table `[objective]` that have other values in this phase.
    """

    steps: int = 0
    network_steps: int = 0
    frozen_steps: int = 0
    objective: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_at_least("phases", 1, high=MOST_STEPS, steps=self.steps)
        for name in ("network_steps", "frozen_steps"):
            require_at_least("phases", 0, high=MOST_STEPS, **{name: getattr(self, name)})


def phase_objectives(
    plain: TrainingObjectiveSettings, phases: Sequence[PhaseSettings]
) -> tuple[TrainingObjectiveSettings, ...]:
    """Return the objective of each phase, and `plain`, that of the steps after the last one.

    Raises `UsageError` naming the phase, counted from 0, and the setting that is unknown or out of range.
    """
    objectives = []
    for number, phase in enumerate(phases):
        with in_phase(number, phases):
            table = {**asdict(plain), **phase.objective}
            objectives.append(from_table(TrainingObjectiveSettings, table, "objective."))
    return (*objectives, plain)


@contextmanager
def in_phase(number: int, phases: Sequence[PhaseSettings]) -> Iterator[None]:
    """Put the name of a phase, counted from 0, before a `UsageError`; the steps after the last phase have none."""
    try:
        yield
    except UsageError as error:
        if number == len(phases):
            raise
        raise UsageError(f"phases[{number}]: {error}") from None
