"""The pairs of a training, batch by batch."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nephi.datasets import DatasetIndex, DatasetPair
from nephi.errors import NephiError
from nephi.models import ModelInput, input_grid
from nephi.objective import PairBatch
from nephi.training.augmentation import TrainingImage, augment
from nephi.training.cache import ModelInputCache
from nephi.training.reference_points import reference_points
from nephi.training.seeding import SampleKey, generator_of
from nephi.training.settings import TrainSettings
from nephi.transforms import AffineTransform


class KeyedBatch:
    """A batch of pairs, and the keys of its samples.

    Neither a dataclass nor a tuple: mixed precision rounds the tensors in these, and images are compared in full
    precision.
    """

    def __init__(self, pairs: PairBatch, keys: Sequence[SampleKey], seed: int) -> None:
        self.pairs = pairs
        self.keys = tuple(keys)
        self.seed = seed

    def generators(self, purpose: str = "points") -> list[torch.Generator]:
        """Return a generator for each pair: for the random points of its loss, or for another purpose."""
        return [generator_of(purpose, self.seed, *key) for key in self.keys]

    def to(self, device: torch.device) -> KeyedBatch:
        """Return the batch with its tensors on `device`."""
        return KeyedBatch(self.pairs.to(device), self.keys, self.seed)


class TrainingSample(NamedTuple):
    """A pair of augmented images, its key, and the pair's number in the split."""

    key: SampleKey
    pair_id: int
    fixed: TrainingImage
    moving: TrainingImage


class TrainingPairs(Dataset[TrainingSample | NephiError]):
    """The pairs of the split `train`, sampled at random by key, their images augmented."""

    def __init__(self, index: DatasetIndex, settings: TrainSettings, inputs: ModelInputCache) -> None:
        self.settings = settings
        self.inputs = inputs
        self.grid = input_grid(settings.input)
        self.pairs = index.pairs("train")
        self.keypoints = reference_points(settings, index, inputs)

    def pair_id(self, key: SampleKey) -> int:
        """Return the number of the pair of a sample; all pairs have the same probability."""
        generator = generator_of("pair", self.settings.optimization.seed, *key)
        return int(torch.randint(len(self.pairs), (1,), generator=generator))

    def pair(self, key: SampleKey) -> DatasetPair:
        """Return the pair of a sample."""
        return self.pairs[self.pair_id(key)]

    def __getitem__(self, key: SampleKey) -> TrainingSample | NephiError:
        """Return the sample of a key, or its error: returned, as DataLoader would wrap it in a traceback."""
        pair_id = self.pair_id(key)
        generator, shared_generator = (
            generator_of(purpose, self.settings.optimization.seed, *key) for purpose in ("augment", "augment both")
        )
        try:
            images = self._images(key, self.pairs[pair_id], generator)
        except NephiError as error:
            return error
        augmentation = self.settings.augmentation.at(key.step / self.settings.optimization.steps)
        augmented = augment(*images, self.grid, augmentation, generator, shared_generator)
        return TrainingSample(key, pair_id, *augmented)

    def _images(
        self, key: SampleKey, pair: DatasetPair, generator: torch.Generator
    ) -> tuple[TrainingImage, TrainingImage]:
        inputs = [self.inputs[id] for id in (pair.fixed, pair.moving)]
        points: list[Tensor | None] = [None, None]
        objective = self.settings.objectives[self.settings.phase_number(key.step)]
        count = objective.landmarks and objective.landmark_points
        if count:
            points = list(self._landmarks(pair, inputs, count, generator))
        labels = [self._labels(id) if objective.dice else None for id in (pair.fixed, pair.moving)]
        fixed, moving = (
            TrainingImage(each.values, each.mask, own_points, self.settings.input.outside, own_labels, self.keypoints)
            for each, own_points, own_labels in zip(inputs, points, labels, strict=True)
        )
        return fixed, moving

    def _labels(self, id: str) -> Tensor:
        """Return the labels of an image, 0 everywhere for one without any."""
        labels = self.inputs.labels(id)
        return torch.zeros(1, *self.grid.shape, dtype=torch.int64) if labels is None else labels

    def _landmarks(
        self, pair: DatasetPair, inputs: Sequence[ModelInput], count: int, generator: torch.Generator
    ) -> Iterator[Tensor]:
        """Yield `count` random landmarks of a pair in either image, mm of the model's box; NaN for a pair without."""
        if pair.landmarks is None:
            yield from (torch.full((count, self.grid.dimension), torch.nan, dtype=torch.float32) for _ in inputs)
            return
        landmarks = self.inputs.landmarks(pair.landmarks)
        chosen = torch.randint(len(landmarks.fixed.coordinates), (count,), generator=generator)
        for points, model_input in zip((landmarks.fixed, landmarks.moving), inputs, strict=True):
            to_box = AffineTransform(model_input.to_world).inverse()
            yield to_box(points.coordinates[chosen].double()).float()


class BatchKeys(Sampler[list[SampleKey]]):
    """The keys of one process: of each step from `first` on, `accumulate` batches one after the other."""

    def __init__(self, settings: TrainSettings, first: int, process: int, processes: int) -> None:
        self.settings = settings.optimization
        self.first = first
        self.process = process
        self.processes = processes

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yield the keys of batch after batch."""
        batch = self.settings.batch
        for step in range(self.first, self.settings.steps):
            for part in range(self.settings.accumulate):
                start = (part * self.processes + self.process) * batch
                yield [SampleKey(step, start + k) for k in range(batch)]


def batch_loader(pairs: TrainingPairs, keys: BatchKeys) -> DataLoader[KeyedBatch | NephiError]:
    """Return a loader of batches, with worker processes if the settings have any."""
    settings = pairs.settings.optimization
    return DataLoader(
        pairs,  # type: ignore[arg-type] # `collate_fn` determines the type of the batches
        batch_sampler=keys,
        num_workers=settings.workers,
        collate_fn=_Collate(settings.seed),
        worker_init_fn=_InitWorker(),
        generator=torch.Generator(),  # not torch's global one, which other code may use
    )


class _Collate:
    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, items: list[TrainingSample | NephiError]) -> KeyedBatch | NephiError:
        samples: list[TrainingSample] = []
        for item in items:
            if isinstance(item, NephiError):
                return item
            samples.append(item)
        sides = [sample.fixed for sample in samples], [sample.moving for sample in samples]
        fixed, moving = (torch.stack([image.values for image in images]) for images in sides)
        masks = [_stack([image.mask for image in images]) for images in sides]
        landmarks = [_stack([image.landmarks for image in images]) for images in sides]
        keypoints = [_stack([image.keypoints for image in images]) for images in sides]
        pair_ids = torch.tensor([sample.pair_id for sample in samples], dtype=torch.int64)
        labels = [_stack([image.labels for image in images]) for images in sides]
        pairs = PairBatch(
            *(fixed, moving, masks[0], masks[1], landmarks[0], landmarks[1], pair_ids),
            *(labels[0], labels[1], keypoints[0], keypoints[1]),
        )
        return KeyedBatch(pairs, [sample.key for sample in samples], self.seed)


def _stack(parts: Sequence[Tensor | None]) -> Tensor | None:
    tensors = [part for part in parts if part is not None]
    return torch.stack(tensors) if tensors else None  # all samples have one, or none has


class _InitWorker:
    """Makes workers ignore interrupts, which a terminal sends to every process; the training ends its workers.

    Workers of torch notice the end of their parent only if it ends after they have started.
    """

    def __init__(self) -> None:
        self.parent = os.getpid()

    def __call__(self, _: int) -> None:
        if os.getppid() != self.parent:
            os._exit(1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
