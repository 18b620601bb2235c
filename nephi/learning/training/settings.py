"""The settings of a training: frozen dataclasses, the same tables and names in TOML."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nephi.errors import UsageError
from nephi.learning.frame import FrameSettings
from nephi.learning.model import ModelSettings
from nephi.learning.objectives import ObjectiveSettings

PRECISIONS = ("32", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class DataSettings:
    """Where the images are: `index` is the path of a data set's index, or of the folder that holds it."""

    index: str = ""


@dataclass(frozen=True)
class AugmentSettings:
    """How far training images are changed at random; 0 and false leave them as they are.

    flip, permute: turn axes over, and exchange them, of both images of a pair alike.
    rotation, scale, shear, shift: an affine map of either image's own, each number uniform up to these, both ways;
        degrees, natural logarithm, slope, mm.
    elastic: standard deviation in mm of a displacement of either image's own, at nodes `elastic_spacing` mm apart and
        linear between them.
    gamma, contrast, brightness: `c * v ** g + b` of either image's own, in intensities from 0 to 1: the natural
        logarithm of g is uniform up to gamma, c up to contrast away from 1, b up to brightness away from 0.
    noise: Gaussian noise of a standard deviation up to this, in intensities from 0 to 1.
    """

    flip: bool = False
    permute: bool = False
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    elastic_spacing: float = 60.0
    gamma: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.elastic_spacing < math.inf or self.elastic > 0.15 * self.elastic_spacing:
            raise UsageError(
                "augment.elastic: expected at most 0.15 of elastic_spacing, beyond which images fold, got "
                f"{self.elastic:g} and {self.elastic_spacing:g}"
            )
        for name in ("rotation", "scale", "shear", "shift", "elastic", "gamma", "contrast", "brightness", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"augment.{name}: expected 0 or more, got {getattr(self, name)}")
        if self.shear >= 1 or self.contrast >= 1:
            raise UsageError(f"augment: expected shear and contrast below 1, got {self.shear} and {self.contrast}")


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
    frame: FrameSettings = FrameSettings()  # noqa: RUF009 (frozen: cannot be shared by mistake)
    model: ModelSettings = ModelSettings()  # noqa: RUF009
    objective: ObjectiveSettings = ObjectiveSettings()  # noqa: RUF009
    augment: AugmentSettings = AugmentSettings()
    train: LoopSettings = LoopSettings()
