"""The pairs of a training, step by step."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nephi.errors import NephiError
from nephi.learning.frame import frame_grid
from nephi.learning.index import DatasetIndex, DatasetPair
from nephi.learning.training.augment import augmented
from nephi.learning.training.cache import SeenImages
from nephi.learning.training.draws import generator_of
from nephi.learning.training.settings import TrainSettings


class Place(NamedTuple):
    """Where a pair is drawn: the step, counted from 0, and the position among the step's pairs in all processes."""

    step: int
    position: int


class PairBatch:
    """Pairs that go through a network together: images `(B, 1, *shape)`, and where they were drawn.

    No dataclass or tuple on purpose: mixed precision rounds the tensors it finds in these, and images are compared in
    full.
    """

    def __init__(self, fixed: Tensor, moving: Tensor, places: Sequence[Place], seed: int) -> None:
        self.fixed = fixed
        self.moving = moving
        self.places = tuple(places)
        self.seed = seed

    def generators(self) -> list[torch.Generator]:
        """Return a generator for the points of each pair's loss."""
        return [generator_of("points", self.seed, *place) for place in self.places]

    def to(self, device: torch.device) -> PairBatch:
        """Return the batch with its images on `device`."""
        return PairBatch(self.fixed.to(device), self.moving.to(device), self.places, self.seed)


class TrainingPairs(Dataset[tuple[Place, Tensor, Tensor] | NephiError]):
    """The pairs of the split `train`, any of which may be drawn at a place, their images augmented."""

    def __init__(self, index: DatasetIndex, settings: TrainSettings, seen: SeenImages) -> None:
        self.settings = settings
        self.seen = seen
        self.grid = frame_grid(settings.frame)
        self.pairs = index.pairs("train")

    def drawn(self, place: Place) -> DatasetPair:
        """Return the pair that is drawn at a place, each as likely."""
        chosen = torch.randint(len(self.pairs), (1,), generator=generator_of("pair", self.settings.train.seed, *place))
        return self.pairs[int(chosen)]

    def __getitem__(self, place: Place) -> tuple[Place, Tensor, Tensor] | NephiError:
        """Return the images of the pair drawn there, or what is wrong with them: raised, it would come as a page."""
        pair = self.drawn(place)
        try:
            fixed, moving = self.seen[pair.fixed].values, self.seen[pair.moving].values
        except NephiError as error:
            return error
        generator = generator_of("augment", self.settings.train.seed, *place)
        return place, *augmented(fixed, moving, self.grid, self.settings.augment, generator)


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


def loader(pairs: TrainingPairs, places: Places) -> DataLoader[PairBatch | NephiError]:
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

    def __call__(self, items: list[tuple[Place, Tensor, Tensor] | NephiError]) -> PairBatch | NephiError:
        good = []
        for item in items:
            if isinstance(item, NephiError):
                return item
            good.append(item)
        places, fixed, moving = zip(*good, strict=True)
        return PairBatch(torch.stack(fixed), torch.stack(moving), places, self.seed)


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
