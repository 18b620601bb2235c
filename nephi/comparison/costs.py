"""Time and memory of the first steps of a training, from which the number of steps in a budget is planned."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.optim import Adam

from nephi.datasets import read_dataset_index
from nephi.models import ModelInput
from nephi.runtime import choose_device, cpu_threads, peak_gpu_memory_mb, peak_memory_mb
from nephi.training.cache import ModelInputCache
from nephi.training.fabric import make_fabric
from nephi.training.pairs import BatchKeys, TrainingPairs, batch_loader
from nephi.training.run import checked_training
from nephi.training.seeding import SampleKey
from nephi.training.settings import TrainSettings
from nephi.training.step import Stepper

if TYPE_CHECKING:
    from lightning_fabric import Fabric

FIRST = 2  # steps before the timed ones: Adam's moments exist from the second step on
FEWEST, MOST = 3, 200  # timed steps
LONGEST = 20.0  # s, of the timed steps
FRACTION = 0.02  # of a budget in minutes, for the timed steps


@dataclass(frozen=True)
class StepCost:
    """The cost of a training step.

    seconds: duration of a step whose images are in memory, the mean over the phases of medians. reading_seconds:
    duration of reading all images of the training once; 0 where they do not fit into memory, `seconds` then include it.
    peak_mb: peak memory of the process above that after the imports, or of the GPU; None on systems that do not report
    it.
    """

    seconds: float
    reading_seconds: float
    peak_mb: float | None

    def steps_in(self, minutes: float) -> int:
        """Return the number of steps that fit into `minutes`, at least 1."""
        return max(1, math.floor((60 * minutes - self.reading_seconds) / self.seconds))


def measure_step_cost(settings: TrainSettings, device: str, minutes: float) -> StepCost:
    """Train the first steps of each phase, in a process that does nothing else, and return their mean cost.

    The mean weighs the phases by their number of steps. All timed steps last at most about 2 % of `minutes`, and are
    not kept. Raises as `nephi.train`.
    """
    with cpu_threads(settings.optimization.threads):
        fabric = make_fabric(settings.optimization, device, 1)
        fabric.launch()
        index = read_dataset_index(settings.data.index)
        inputs = ModelInputCache(index, settings.input, settings.optimization.cache * 1e6)
        _load_libraries(fabric, inputs[index.split_images("train")[0].id])
        imported_mb = peak_memory_mb()
        settings, _, model = checked_training(settings)
        pairs, stepper = TrainingPairs(index, settings, inputs), Stepper(fabric, model, settings)
        parts = [(phase, part) for phase, part in enumerate(phase_fractions(settings)) if part]
        timed = min(LONGEST, 60 * FRACTION * minutes) / len(parts)
        costs = [_phase_cost(stepper, pairs, phase, timed) for phase, _ in parts]
    peak_mb = peak_gpu_memory_mb(choose_device(device)) or _difference(peak_memory_mb(), imported_mb)
    images = len(index.split_images("train"))
    fits = inputs.holds(images)
    seconds = sum((cost.warm if fits else cost.cold) * part for cost, (_, part) in zip(costs, parts, strict=True))
    return StepCost(seconds, images * costs[0].reading if fits else 0.0, peak_mb)


def phase_fractions(settings: TrainSettings) -> list[float]:
    """Return the fraction of the steps of each phase, and of those after the last phase."""
    steps = [phase.steps for phase in settings.phases]
    total = settings.optimization.steps
    return [count / total for count in (*steps, total - sum(steps))]


class _PhaseCost(NamedTuple):
    """Seconds of a step while images are read and when they are in memory, and of reading one image."""

    cold: float
    warm: float
    reading: float


def _phase_cost(stepper: Stepper, pairs: TrainingPairs, phase: int, seconds: float) -> _PhaseCost:
    """Train steps of a phase for about `seconds`, half of them with images that have not been read before."""
    stepper.enter(phase)
    begin = sum(part.steps for part in pairs.settings.phases[:phase])
    start = _durations(stepper, pairs, begin, FIRST)
    count = min(MOST, max(FEWEST, round(seconds / 2 / start[-1])))
    cold, warm = (_durations(stepper, pairs, begin + FIRST, count) for _ in range(2))
    size = pairs.settings.optimization.batch * pairs.settings.optimization.accumulate
    keys = [SampleKey(begin + FIRST + step, position) for step in range(count) for position in range(size)]
    images = {id for pair in map(pairs.pair, keys) for id in (pair.fixed, pair.moving)}
    return _PhaseCost(median(cold), median(warm), max(0.0, sum(cold) - sum(warm)) / len(images))


def _load_libraries(fabric: Fabric, image: ModelInput) -> None:
    """Train a single weight on an image, so that what torch loads on first use belongs to the imports."""
    linear = nn.Linear(1, 1, dtype=torch.float32)
    module, adam = fabric.setup(linear, Adam(linear.parameters()))
    fabric.backward(module(image.values.reshape(-1, 1)[:1].to(fabric.device)).sum())
    adam.step()


def _durations(stepper: Stepper, pairs: TrainingPairs, first: int, count: int) -> list[float]:
    """Train `count` steps from the step `first` on, and return the duration of each, with that of its images, s."""
    optimization = replace(pairs.settings.optimization, steps=first + count)
    keys = BatchKeys(replace(pairs.settings, optimization=optimization, phases=()), first, 0, 1)
    batches = iter(batch_loader(pairs, keys))
    durations = []
    for number in range(first, first + count):
        start = time.perf_counter()
        stepper.step(number, batches, pairs)
        durations.append(time.perf_counter() - start)
    return durations


def _difference(peak_mb: float | None, before_mb: float | None) -> float | None:
    return None if peak_mb is None or before_mb is None else peak_mb - before_mb
