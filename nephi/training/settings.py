"""The settings of a training: frozen dataclasses, with the tables and names of the TOML file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from nephi.errors import UsageError
from nephi.models import InputSettings, ModelSettings, NephiModel, NephiSettings
from nephi.settings import TrainingObjectiveSettings
from nephi.settings.validation import MOST_STEPS, MOST_THREADS, require_above, require_at_least
from nephi.training.augmentation_settings import AugmentationSettings
from nephi.training.phases import PhaseSettings, phase_objectives

PRECISIONS = ("32", "bf16-mixed", "16-mixed")
LARGEST_BATCH = 2**16
WITHOUT_PHASES = "write phases = [] above the tables to leave those of a preset out"


@dataclass(frozen=True)
class DataSettings:
    """The images.

    index: path of a data set's index, or of the folder that holds it.
    reference: id of the image, of the split `train`, in whose mask or foreground the points of `objective.keypoints`
        are drawn; the fixed image of the first pair if it is empty.
    """

    index: str = ""
    reference: str = ""


@dataclass(frozen=True)
class OptimizationSettings:
    """How the weights are trained: `steps` steps of Adam (Kingma and Ba, 2015).

    seed: seed of the initial weights and of all random numbers. Those of a pair depend on seed, step and position in
        the step only, not on the number of processes.
    batch: pairs in a batch of one process.
    accumulate: batches whose gradients each process averages for one step.
    rate: step size, reached after a `warmup` fraction of the steps and lowered to 0 along a cosine if `decay`.
    clip: largest norm of the gradient; 0 does not clip it.
    precision: `32`, or `bf16-mixed` and (on a GPU) `16-mixed`.
    threads: CPU threads of each process, 0 for all.
    workers: further processes that read and augment images, for each process.
    cache: MB of memory for model inputs, of all workers together.
    log_interval, validation_interval, checkpoint_interval: steps between rows of the log, between validations, between
        checkpoints to resume from.
    validation_pairs: largest number of pairs of the split `val` that are validated, evenly spaced.
    pictures: number of these pairs of which figures are written.
    """

    seed: int = 0
    steps: int = 10_000
    batch: int = 4
    accumulate: int = 1
    rate: float = 5e-4
    warmup: float = 0.02
    decay: bool = True
    clip: float = 1.0
    precision: str = "32"
    threads: int = 0
    workers: int = 2
    cache: int = 2000
    log_interval: int = 20
    validation_interval: int = 500
    checkpoint_interval: int = 200
    validation_pairs: int = 16
    pictures: int = 2

    def __post_init__(self) -> None:
        counts = ("steps", "accumulate", "log_interval", "validation_interval", "checkpoint_interval")
        for name in (*counts, "validation_pairs"):
            require_at_least("optimization", 1, high=MOST_STEPS, **{name: getattr(self, name)})
        require_at_least("optimization", 1, high=LARGEST_BATCH, batch=self.batch)
        require_at_least("optimization", 0, high=MOST_THREADS, threads=self.threads, workers=self.workers)
        for name in ("seed", "cache", "pictures", "clip"):
            require_at_least("optimization", 0, high=2.0**53, **{name: getattr(self, name)})
        require_above("optimization", 0, rate=self.rate)
        if not 0 <= self.warmup <= 1:
            raise UsageError(f"optimization.warmup: expected a fraction of the steps from 0 to 1, got {self.warmup}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"optimization.precision: expected one of {', '.join(PRECISIONS)}, got {self.precision!r}")


@dataclass(frozen=True)
class TrainSettings:
    """All settings of a training; tables and names are those of the TOML file.

    `model` are the settings of one of `nephi.models.MODELS`, NePhi's unless others are given. `phases` are the tables
    `[[phases]]`, in their order.
    """

    data: DataSettings = DataSettings()
    input: InputSettings = InputSettings()  # noqa: RUF009 (frozen: cannot be shared by mistake)
    model: ModelSettings = NephiSettings()  # noqa: RUF009
    objective: TrainingObjectiveSettings = NephiModel.default_objective
    augmentation: AugmentationSettings = AugmentationSettings()  # noqa: RUF009
    optimization: OptimizationSettings = OptimizationSettings()
    phases: tuple[PhaseSettings, ...] = ()

    def __post_init__(self) -> None:
        total = sum(phase.steps for phase in self.phases)
        if total > self.optimization.steps:
            raise UsageError(
                f"phases: expected at most optimization.steps = {self.optimization.steps} steps in all, got {total}; "
                f"change their steps, or {WITHOUT_PHASES}"
            )
        _ = self.objectives  # raises for those that are out of range

    @cached_property
    def objectives(self) -> tuple[TrainingObjectiveSettings, ...]:
        """The objective of each phase, and that of the steps after the last phase."""
        return phase_objectives(self.objective, self.phases)

    def phase_number(self, step: int) -> int:
        """Return the number of the phase of a step, both counted from 0: `len(phases)` after the last phase."""
        return sum(step >= end for end in accumulate(phase.steps for phase in self.phases))
