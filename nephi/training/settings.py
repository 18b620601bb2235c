"""The settings of a training: frozen dataclasses, with the tables and names of the TOML file."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import ClassVar, Self

from nephi.errors import UsageError
from nephi.models import InputSettings, ModelSettings, NephiModel, NephiSettings
from nephi.settings import TrainingObjectiveSettings
from nephi.settings.validation import MOST_STEPS, MOST_THREADS, require_above, require_at_least, require_one_of
from nephi.training.phases import PhaseSettings, phase_objectives

PRECISIONS = ("32", "bf16-mixed", "16-mixed")
LARGEST_LOGARITHM = 10  # its exponential, 22026, is finite, and beyond any image
LARGEST_BATCH = 2**16
AUGMENTED = ("each", "moving")
WARPS = ("rotation", "scale", "shear", "shift", "elastic")
STEEPEST = 0.15  # standard deviation of a random displacement, relative to the distance of its nodes


@dataclass(frozen=True)
class DataSettings:
    """The images: `index` is the path of a data set's index, or of the folder that holds it."""

    index: str = ""


@dataclass(frozen=True)
class WarpSettings:
    """A random map of an image's points; 0 for the identity.

    rotation, scale, shear, shift: an affine map, each number uniform between minus and plus this value; degrees,
        natural logarithm, slope, mm. In 3-D the axis of the rotation is uniform on the sphere and its angle uniform:
        with `rotation = 180` a quarter of the rotations are below 45 degrees, of uniformly distributed ones 2.5 %.
    elastic: standard deviation in mm of a displacement at nodes `elastic_spacing` mm apart, interpolated
        linearly between them.
    """

    table: ClassVar[str] = "augmentation.both"

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    elastic_spacing: float = 60.0

    def __post_init__(self) -> None:
        self._require_finite("shear", "shift", "elastic")
        require_at_least(self.table, 0, high=180, rotation=self.rotation)
        require_at_least(self.table, 0, high=LARGEST_LOGARITHM, scale=self.scale)
        self._require_below_one("shear")
        require_above(self.table, 0, elastic_spacing=self.elastic_spacing)
        if self.steepness > STEEPEST:
            raise UsageError(
                f"{self.table}.elastic: expected at most {STEEPEST} elastic_spacing, beyond which images fold, got "
                f"elastic {self.elastic:g} and elastic_spacing {self.elastic_spacing:g}"
            )

    def scaled(self, factor: float) -> Self:
        """Return the settings of maps that are weaker by a factor from 0 to 1."""
        return replace(self, **{name: factor * getattr(self, name) for name in WARPS})

    @property
    def steepness(self) -> float:
        """Standard deviation of the nodes' displacements, relative to their distance."""
        return self.elastic / self.elastic_spacing

    def _require_finite(self, *names: str) -> None:
        require_at_least(self.table, 0, **{name: getattr(self, name) for name in names})

    def _require_below_one(self, name: str) -> None:
        if getattr(self, name) >= 1:
            raise UsageError(f"{self.table}.{name}: expected a number below 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class AugmentationSettings(WarpSettings):
    """Random changes of the training images; 0 and false leave them unchanged.

    Each image is warped by a map of its own, which simulates other motion. Both images of a pair are also warped by a
    shared map, with the same settings in the table `both`, which simulates other anatomy. The displacements of the two
    add up.

    rotation, scale, shear, shift: the affine part of an image's own map, each number uniform between minus and plus
        this value; degrees, natural logarithm, slope, mm.
    elastic: standard deviation in mm of a displacement of an image's own, at nodes `elastic_spacing` mm apart and
        linear between them.
    images: whether `each` image of a pair or the `moving` one only has a map of its own and other intensities.
    ramp: fraction of the training's steps over which all maps, those of `both` included, grow linearly from the
        identity to their full size; 0 for full size from the start.
    flip, permute: mirror axes, and exchange axes, in the same way for both images of a pair.
    gamma, contrast, brightness: `c * v ** g + b` of each image, in intensities from 0 to 1: the natural logarithm of g
        is uniform up to gamma, c up to contrast away from 1, b up to brightness away from 0.
    noise: Gaussian noise of a standard deviation up to this value, in intensities from 0 to 1.
    """

    table: ClassVar[str] = "augmentation"

    flip: bool = False
    permute: bool = False
    gamma: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0
    images: str = "each"
    ramp: float = 0.0
    both: WarpSettings = WarpSettings()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_finite("contrast", "brightness", "noise")
        require_at_least(self.table, 0, high=LARGEST_LOGARITHM, gamma=self.gamma)
        self._require_below_one("contrast")
        require_one_of("augmentation.images", self.images, AUGMENTED)
        if not 0 <= self.ramp <= 1:
            raise UsageError(f"augmentation.ramp: expected a fraction of the steps from 0 to 1, got {self.ramp}")
        if math.hypot(self.steepness, self.both.steepness) > STEEPEST:
            raise UsageError(
                f"{self.table}.elastic: expected a^2 + b^2 of at most {STEEPEST}^2, beyond which images fold, where "
                f"a is elastic / elastic_spacing of this table and b that of {self.both.table}; got "
                f"a = {self.steepness:g} and b = {self.both.steepness:g}"
            )

    def at(self, progress: float) -> AugmentationSettings:
        """Return the settings after a fraction of the training's steps, from 0 to 1."""
        if progress >= self.ramp:
            return self
        factor = progress / self.ramp
        return replace(self.scaled(factor), both=self.both.scaled(factor))

    def of_fixed(self) -> AugmentationSettings:
        """Return the settings of what the fixed image does not share with the moving one."""
        return self if self.images == "each" else AugmentationSettings(elastic_spacing=self.elastic_spacing)

    def moving_parts(self) -> list[str]:
        """Return the names of the settings that move an image's points."""
        names = [name for name in ("flip", "permute", *WARPS) if getattr(self, name)]
        return names + [f"both.{name}" for name in WARPS if getattr(self.both, name)]


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
    augmentation: AugmentationSettings = AugmentationSettings()
    optimization: OptimizationSettings = OptimizationSettings()
    phases: tuple[PhaseSettings, ...] = ()

    def __post_init__(self) -> None:
        total = sum(phase.steps for phase in self.phases)
        if total > self.optimization.steps:
            raise UsageError(
                f"phases: expected at most optimization.steps = {self.optimization.steps} steps in all, got {total}"
            )
        _ = self.objectives  # raises for those that are out of range

    @cached_property
    def objectives(self) -> tuple[TrainingObjectiveSettings, ...]:
        """The objective of each phase, and that of the steps after the last phase."""
        return phase_objectives(self.objective, self.phases)

    def phase_number(self, step: int) -> int:
        """Return the number of the phase of a step, both counted from 0: `len(phases)` after the last phase."""
        return sum(step >= end for end in accumulate(phase.steps for phase in self.phases))
