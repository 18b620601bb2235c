"""Time and memory of the first steps of a training, from which the number of steps in a budget is planned."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

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

    seconds: median duration of a step whose images are in memory. reading_seconds: duration of reading all images of
    the training once; 0 where they do not fit into memory, `seconds` then include it. peak_mb: peak memory of the
    process above that after the imports, or of the GPU; None on systems that do not report it.
    """

    seconds: float
    reading_seconds: float
    peak_mb: float | None

    def steps_in(self, minutes: float) -> int:
        """Return the number of steps that fit into `minutes`, at least 1."""
        return max(1, math.floor((60 * minutes - self.reading_seconds) / self.seconds))


def measure_step_cost(settings: TrainSettings, device: str, minutes: float) -> StepCost:
    """Train a few steps, in a process that does nothing else, and return their cost; nothing is kept.

    The steps are those with which the training of these settings starts. They last at most about 2 % of `minutes`.
    Raises as `nephi.train`.
    """
    with cpu_threads(settings.optimization.threads):
        fabric = make_fabric(settings.optimization, device, 1)
        fabric.launch()
        index = read_dataset_index(settings.data.index)
        inputs = ModelInputCache(index, settings.input, settings.optimization.cache * 1e6)
        _load_libraries(fabric, inputs[index.split_images("train")[0].id])
        imported_mb = peak_memory_mb()
        settings, _, model = checked_training(settings)
        pairs = TrainingPairs(index, settings, inputs)
        stepper = Stepper(fabric, model, settings)
        start = _durations(stepper, pairs, 0, FIRST)
        count = min(MOST, max(FEWEST, round(min(LONGEST, 60 * FRACTION * minutes) / 2 / start[-1])))
        cold, warm = (_durations(stepper, pairs, FIRST, count) for _ in range(2))  # the second time from memory
    peak_mb = peak_gpu_memory_mb(choose_device(device)) or _difference(peak_memory_mb(), imported_mb)
    images = len(index.split_images("train"))
    if not inputs.holds(images):
        return StepCost(median(cold), 0.0, peak_mb)
    keys = [SampleKey(step, k) for step in range(FIRST, FIRST + count) for k in range(_pairs_of_step(settings))]
    used = {id for pair in map(pairs.pair, keys) for id in (pair.fixed, pair.moving)}
    return StepCost(median(warm), max(0.0, sum(cold) - sum(warm)) / len(used) * images, peak_mb)


def _load_libraries(fabric: Fabric, image: ModelInput) -> None:
    """Train a single weight on an image, so that what torch loads on first use belongs to the imports."""
    linear = nn.Linear(1, 1, dtype=torch.float32)
    module, adam = fabric.setup(linear, Adam(linear.parameters()))
    fabric.backward(module(image.values.reshape(-1, 1)[:1].to(fabric.device)).sum())
    adam.step()


def _durations(stepper: Stepper, pairs: TrainingPairs, first: int, count: int) -> list[float]:
    """Train `count` steps from the step `first` on, and return the duration of each, with that of its images, s."""
    optimization = replace(pairs.settings.optimization, steps=first + count)
    keys = BatchKeys(replace(pairs.settings, optimization=optimization), first, 0, 1)
    batches = iter(batch_loader(pairs, keys))
    durations = []
    for number in range(first, first + count):
        start = time.perf_counter()
        stepper.step(number, batches, pairs)
        durations.append(time.perf_counter() - start)
    return durations


def _pairs_of_step(settings: TrainSettings) -> int:
    return settings.optimization.batch * settings.optimization.accumulate


def _difference(peak_mb: float | None, before_mb: float | None) -> float | None:
    return None if peak_mb is None or before_mb is None else peak_mb - before_mb
