"""The settings of a training: frozen dataclasses, the same tables and names in TOML."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from nephi.errors import UsageError
from nephi.models import InputSettings, ModelSettings
from nephi.settings import TrainingObjectiveSettings

PRECISIONS = ("32", "bf16-mixed", "16-mixed")
STEEPEST = 0.15  # standard deviation of a random displacement, as a share of the distance of its nodes


@dataclass(frozen=True)
class DataSettings:
    """Where the images are: `index` is the path of a data set's index, or of the folder that holds it."""

    index: str = ""


@dataclass(frozen=True)
class WarpSettings:
    """A random map of the points of an image; 0 leaves them where they are.

    rotation, scale, shear, shift: an affine map, each number uniform up to these, both ways; degrees, natural
        logarithm, slope, mm.
    elastic: standard deviation in mm of a displacement at nodes `elastic_spacing` mm apart and linear between them.
    """

    table: ClassVar[str] = "augment.both"

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    elastic_spacing: float = 60.0

    def __post_init__(self) -> None:
        self._check_finite("rotation", "scale", "shear", "shift", "elastic")
        self._check_below_one("shear")
        if not 0 < self.elastic_spacing < math.inf or self.steepness > STEEPEST:
            raise UsageError(
                f"{self.table}.elastic: expected at most {STEEPEST} of elastic_spacing, beyond which images fold, got "
                f"{self.elastic:g} and {self.elastic_spacing:g}"
            )

    @property
    def steepness(self) -> float:
        """Displacements of nodes, as a share of their distance."""
        return self.elastic / self.elastic_spacing

    def _check_finite(self, *names: str) -> None:
        for name in names:
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{self.table}.{name}: expected 0 or more, got {getattr(self, name)}")

    def _check_below_one(self, name: str) -> None:
        if getattr(self, name) >= 1:
            raise UsageError(f"{self.table}.{name}: expected a number below 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class AugmentSettings(WarpSettings):
    """How far training images are changed at random; 0 and false leave them as they are.

    Each image goes through a map of its own, which makes other motion; the images of a pair share a second one, told in
    the same words in the table `both`, which makes other anatomy. The displacements of the two add up.

    rotation, scale, shear, shift: the affine map of either image's own, each number uniform up to these, both ways;
        degrees, natural logarithm, slope, mm.
    elastic: standard deviation in mm of a displacement of either image's own, at nodes `elastic_spacing` mm apart and
        linear between them.
    flip, permute: turn axes over, and exchange them, of both images of a pair alike.
    gamma, contrast, brightness: `c * v ** g + b` of either image's own, in intensities from 0 to 1: the natural
        logarithm of g is uniform up to gamma, c up to contrast away from 1, b up to brightness away from 0.
    noise: Gaussian noise of a standard deviation up to this, in intensities from 0 to 1.
    """

    table: ClassVar[str] = "augment"

    flip: bool = False
    permute: bool = False
    gamma: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0
    both: WarpSettings = WarpSettings()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_finite("gamma", "contrast", "brightness", "noise")
        self._check_below_one("contrast")
        if math.hypot(self.steepness, self.both.steepness) > STEEPEST:
            raise UsageError(
                "augment.elastic: expected shares of elastic_spacing, here and in augment.both, whose squares add up "
                f"to at most {STEEPEST} squared, beyond which images fold; got {self.steepness:g} and "
                f"{self.both.steepness:g}"
            )


@dataclass(frozen=True)
class LoopSettings:
    """How the weights are trained: `steps` steps of Adam (Kingma and Ba, 2015).

    seed: of the first weights, and of everything that is drawn: for each pair a function of seed, step and its place in
        the step, so that it does not matter how a step is shared out.
    batch: pairs that one process holds at a time.
    accumulate: so many batches, in each process, make one step.
    rate: step size, reached after a `warmup` share of the steps and lowered to 0 along a cosine if `decay`.
    clip: largest norm of the gradient, 0 for any.
    precision: `32`, or `bf16-mixed` and (on a GPU) `16-mixed`.
    threads: CPU threads of each process, 0 for all.
    workers: further processes that read and augment images, for each process.
    cache: MB of memory for images as the network sees them, of all workers together.
    log_interval, validation_interval, checkpoint_interval: steps between rows of the log, between validations, between
        states to resume from.
    validation_pairs: at most so many of the split `val`, spread over it.
    pictures: of how many of these pictures are drawn.
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
        ones = ("steps", "batch", "accumulate", "log_interval", "validation_interval", "checkpoint_interval")
        for name in (*ones, "validation_pairs"):
            if getattr(self, name) < 1:
                raise UsageError(f"train.{name}: expected 1 or more, got {getattr(self, name)}")
        for name in ("seed", "threads", "workers", "cache", "pictures", "clip"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"train.{name}: expected 0 or more, got {getattr(self, name)}")
        if not 0 < self.rate < math.inf:
            raise UsageError(f"train.rate: expected more than 0, got {self.rate}")
        if not 0 <= self.warmup <= 1:
            raise UsageError(f"train.warmup: expected a share of the steps from 0 to 1, got {self.warmup}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"train.precision: expected one of {', '.join(PRECISIONS)}, got {self.precision!r}")


@dataclass(frozen=True)
class TrainSettings:
    """Everything a training is told; the same tables and names as in a TOML file."""

    data: DataSettings = DataSettings()
    frame: InputSettings = InputSettings()  # noqa: RUF009 (frozen: cannot be shared by mistake)
    model: ModelSettings = ModelSettings()  # noqa: RUF009
    objective: TrainingObjectiveSettings = TrainingObjectiveSettings()  # noqa: RUF009
    augment: AugmentSettings = AugmentSettings()
    train: LoopSettings = LoopSettings()
