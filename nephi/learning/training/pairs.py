"""The pairs of a training, step by step."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nephi.errors import NephiError
from nephi.learning.frame import Seen, frame_grid
from nephi.learning.index import DatasetIndex, DatasetPair
from nephi.learning.objectives import PairBatch
from nephi.learning.training.augment import augmented
from nephi.learning.training.cache import SeenImages
from nephi.learning.training.draws import generator_of
from nephi.learning.training.settings import TrainSettings


class Place(NamedTuple):
    """Where a pair is drawn: the step, counted from 0, and the position among the step's pairs in all processes."""

    step: int
    position: int


class DrawnPair(NamedTuple):
    """A pair drawn at a place: its `number` in the split, and what the network sees of it, augmented."""

    place: Place
    number: int
    fixed: Seen
    moving: Seen


class DrawnBatch:
    """Pairs that go through a network together, and where they were drawn.

    No dataclass or tuple on purpose: mixed precision rounds the tensors it finds in these, and images are compared in
    full.
    """

    def __init__(self, images: PairBatch, places: Sequence[Place], seed: int) -> None:
        self.images = images
        self.places = tuple(places)
        self.seed = seed

    @classmethod
    def of(cls, pairs: Sequence[DrawnPair], seed: int) -> DrawnBatch:
        """Return the batch of some pairs."""
        images = PairBatch(
            torch.stack([pair.fixed.values for pair in pairs]),
            torch.stack([pair.moving.values for pair in pairs]),
            _stacked([pair.fixed.mask for pair in pairs]),
            _stacked([pair.moving.mask for pair in pairs]),
            torch.tensor([pair.number for pair in pairs]),
        )
        return cls(images, [pair.place for pair in pairs], seed)

    def generators(self) -> list[torch.Generator]:
        """Return a generator for the points of each pair's loss."""
        return [generator_of("points", self.seed, *place) for place in self.places]

    def to(self, device: torch.device) -> DrawnBatch:
        """Return the batch with its images on `device`; masks stay where points are drawn, on the CPU."""
        images = self.images
        assert images.which is not None
        fixed, moving, which = images.fixed.to(device), images.moving.to(device), images.which.to(device)
        return DrawnBatch(replace(images, fixed=fixed, moving=moving, which=which), self.places, self.seed)


def _stacked(masks: Sequence[Tensor | None]) -> Tensor | None:
    given = [mask for mask in masks if mask is not None]
    return torch.stack(given) if given else None  # a frame has masks of all images, or of none


class TrainingPairs(Dataset[DrawnPair | NephiError]):
    """The pairs of the split `train`, any of which may be drawn at a place, their images augmented."""

    def __init__(self, index: DatasetIndex, settings: TrainSettings, seen: SeenImages) -> None:
        self.settings = settings
        self.seen = seen
        self.grid = frame_grid(settings.frame)
        self.pairs = index.pairs("train")

    def drawn(self, place: Place) -> DatasetPair:
        """Return the pair that is drawn at a place, each as likely."""
        return self.pairs[self._number(place)]

    def _number(self, place: Place) -> int:
        generator = generator_of("pair", self.settings.train.seed, *place)
        return int(torch.randint(len(self.pairs), (1,), generator=generator))

    def __getitem__(self, place: Place) -> DrawnPair | NephiError:
        """Return the pair drawn there, or what is wrong with its images: raised, it would come as a page."""
        number = self._number(place)
        pair = self.pairs[number]
        try:
            fixed, moving = self.seen[pair.fixed], self.seen[pair.moving]
        except NephiError as error:
            return error
        generator = generator_of("augment", self.settings.train.seed, *place)
        return DrawnPair(place, number, *augmented(fixed, moving, self.grid, self.settings.augment, generator))


class Places(Sampler[list[Place]]):
    """The places of one process: of each step from `first` on, `accumulate` batches one after the other."""

    def __init__(self, settings: TrainSettings, first: int, process: int, processes: int) -> None:
        self.loop = settings.train
        self.first = first
        self.process = process
        self.processes = processes

    def __iter__(self) -> Iterator[list[Place]]:
        """Give the places of batch after batch."""
        for step in range(self.first, self.loop.steps):
            for part in range(self.loop.accumulate):
                start = (part * self.processes + self.process) * self.loop.batch
                yield [Place(step, start + k) for k in range(self.loop.batch)]


def loader(pairs: TrainingPairs, places: Places) -> DataLoader[DrawnBatch | NephiError]:
    """Return what reads batch after batch, in worker processes if there are any."""
    loop = pairs.settings.train
    return DataLoader(
        pairs,  # type: ignore[arg-type] # what comes out is made by `collate_fn`
        batch_sampler=places,
        num_workers=loop.workers,
        collate_fn=_Collate(loop.seed),
        worker_init_fn=_BeginWorker(),
        generator=torch.Generator(),  # not torch's own, of which others may draw
    )


class _Collate:
    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, items: list[DrawnPair | NephiError]) -> DrawnBatch | NephiError:
        wrong = [item for item in items if isinstance(item, NephiError)]
        return wrong[0] if wrong else DrawnBatch.of([item for item in items if isinstance(item, DrawnPair)], self.seed)


class _BeginWorker:
    """A key that interrupts reaches every process; the training's decides when its workers end.

    torch's workers notice the end of their parent only when it outlives their start.
    """

    def __init__(self) -> None:
        self.parent = os.getpid()

    def __call__(self, _: int) -> None:
        if os.getppid() != self.parent:
            os._exit(1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
