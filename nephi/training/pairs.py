"""The pairs of a training, step by step."""

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
from nephi.training.augment import View, augmented
from nephi.training.cache import ModelInputCache
from nephi.training.objective import PairBatch
from nephi.training.seeding import generator_of
from nephi.training.settings import TrainSettings
from nephi.transforms import AffineTransform


class Place(NamedTuple):
    """Where a pair is drawn: the step, counted from 0, and the position among the step's pairs in all processes."""

    step: int
    position: int


class PlacedBatch:
    """Pairs that go through a network together, and where they were drawn.

    No dataclass or tuple on purpose: mixed precision rounds the tensors it finds in these, and images are compared in
    full.
    """

    def __init__(self, pairs: PairBatch, places: Sequence[Place], seed: int) -> None:
        self.pairs = pairs
        self.places = tuple(places)
        self.seed = seed

    def generators(self) -> list[torch.Generator]:
        """Return a generator for the points of each pair's loss."""
        return [generator_of("points", self.seed, *place) for place in self.places]

    def to(self, device: torch.device) -> PlacedBatch:
        """Return the batch with its tensors on `device`."""
        return PlacedBatch(self.pairs.to(device), self.places, self.seed)


class Drawn(NamedTuple):
    """A pair that was drawn: where, its number in the split, and its images, augmented."""

    place: Place
    number: int
    fixed: View
    moving: View


class TrainingPairs(Dataset[Drawn | NephiError]):
    """The pairs of the split `train`, any of which may be drawn at a place, their images augmented."""

    def __init__(self, index: DatasetIndex, settings: TrainSettings, seen: ModelInputCache) -> None:
        self.settings = settings
        self.seen = seen
        self.grid = input_grid(settings.input)
        self.pairs = index.pairs("train")

    def number(self, place: Place) -> int:
        """Return the number of the pair that is drawn at a place, each as likely."""
        generator = generator_of("pair", self.settings.optimization.seed, *place)
        return int(torch.randint(len(self.pairs), (1,), generator=generator))

    def drawn(self, place: Place) -> DatasetPair:
        """Return the pair that is drawn at a place."""
        return self.pairs[self.number(place)]

    def __getitem__(self, place: Place) -> Drawn | NephiError:
        """Return the pair drawn there, or what is wrong with it: raised, it would come as a page."""
        number = self.number(place)
        generator, both = (
            generator_of(purpose, self.settings.optimization.seed, *place) for purpose in ("augment", "augment both")
        )
        try:
            views = self._views(self.pairs[number], generator)
        except NephiError as error:
            return error
        return Drawn(place, number, *augmented(*views, self.grid, self.settings.augmentation, generator, both))

    def _views(self, pair: DatasetPair, generator: torch.Generator) -> tuple[View, View]:
        sides = [self.seen[id] for id in (pair.fixed, pair.moving)]
        points: list[Tensor | None] = [None, None]
        count = self.settings.objective.landmarks and self.settings.objective.landmark_points
        if count:
            points = list(self._landmarks(pair, sides, count, generator))
        beyond = float(self.settings.input.outside_mask == "bright")
        first, second = (View(s.values, s.mask, p, beyond) for s, p in zip(sides, points, strict=True))
        return first, second

    def _landmarks(
        self, pair: DatasetPair, sides: Sequence[ModelInput], count: int, generator: torch.Generator
    ) -> Iterator[Tensor]:
        """Give `count` random ones of a pair's landmarks in either image, NaN where it has none."""
        if pair.landmarks is None:
            yield from (torch.full((count, self.grid.dimension), torch.nan, dtype=torch.float32) for _ in sides)
            return
        known = self.seen.landmarks(pair.landmarks)
        chosen = torch.randint(len(known.fixed.coordinates), (count,), generator=generator)
        for points, side in zip((known.fixed, known.moving), sides, strict=True):
            yield AffineTransform(side.to_world).inverse()(points.coordinates[chosen].double()).float()


class Places(Sampler[list[Place]]):
    """The places of one process: of each step from `first` on, `accumulate` batches one after the other."""

    def __init__(self, settings: TrainSettings, first: int, process: int, processes: int) -> None:
        self.loop = settings.optimization
        self.first = first
        self.process = process
        self.processes = processes

    def __iter__(self) -> Iterator[list[Place]]:
        """Give the places of batch after batch."""
        for step in range(self.first, self.loop.steps):
            for part in range(self.loop.accumulate):
                start = (part * self.processes + self.process) * self.loop.batch
                yield [Place(step, start + k) for k in range(self.loop.batch)]


def loader(pairs: TrainingPairs, places: Places) -> DataLoader[PlacedBatch | NephiError]:
    """Return what reads batch after batch, in worker processes if there are any."""
    loop = pairs.settings.optimization
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

    def __call__(self, items: list[Drawn | NephiError]) -> PlacedBatch | NephiError:
        good: list[Drawn] = []
        for item in items:
            if isinstance(item, NephiError):
                return item
            good.append(item)
        sides = [item.fixed for item in good], [item.moving for item in good]
        fixed, moving = (torch.stack([view.values for view in views]) for views in sides)
        masks = [_stacked([view.mask for view in views]) for views in sides]
        landmarks = [_stacked([view.landmarks for view in views]) for views in sides]
        pair_ids = torch.tensor([item.number for item in good], dtype=torch.int64)
        pairs = PairBatch(fixed, moving, masks[0], masks[1], landmarks[0], landmarks[1], pair_ids)
        return PlacedBatch(pairs, [item.place for item in good], self.seed)


def _stacked(parts: Sequence[Tensor | None]) -> Tensor | None:
    found = [part for part in parts if part is not None]
    return torch.stack(found) if found else None  # all have one, or none has


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
