"""The loop over steps: log, validation, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nephi.datasets import DatasetIndex, DatasetPair
from nephi.errors import NephiError
from nephi.models import StoredModel, input_grid, write_model
from nephi.optimize import Progress, ProgressCallback
from nephi.training.checkpoint import Counters, save_state
from nephi.training.distributed import raise_together
from nephi.training.folder import RunFolder
from nephi.training.log import TrainingLog
from nephi.training.pairs import PlacedBatch, Places, TrainingPairs, loader
from nephi.training.pictures import panels
from nephi.training.settings import TrainSettings
from nephi.training.step import Stepper
from nephi.training.validation import ValidatedPair, chosen_pairs, mean_measures, row_of, score, validate_pair

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(eq=False)
class Training:
    """A training under way: `run` tells which one it is, `about` goes into its models."""

    fabric: Fabric
    settings: TrainSettings
    folder: RunFolder
    index: DatasetIndex
    stepper: Stepper
    pairs: TrainingPairs
    counters: Counters
    run: dict[str, Any]
    about: dict[str, Any]

    def go(self, log: TrainingLog | None, stopping: Callable[[], bool], progress: ProgressCallback) -> bool:
        """Train from where the counters are to the end; return False when `stopping` has become true before it.

        `log` is given in the first process, which also writes the files.
        """
        loop = self.settings.optimization
        if not self.counters.begun:
            self._validate(log)
            self.counters.begun = True
            self._checkpoint(log)
        batches = self._batches()
        while self.counters.step < loop.steps:
            since = time.monotonic()
            row = self.stepper.step(self.counters.step, batches, self.pairs)
            self.counters.step += 1
            self.counters.seconds += time.monotonic() - since
            self._note(row, log)
            progress(Progress("train", self.counters.step, loop.steps, row["loss"]))
            if self._due(loop.validation_interval):
                self._validate(log)
            stop = self._anywhere(stopping())
            if self._due(loop.checkpoint_interval) or stop:
                self._checkpoint(log)
            if stop:
                break
        return self.counters.step == loop.steps

    def _batches(self) -> Iterator[PlacedBatch | NephiError]:
        places = Places(self.settings, self.counters.step, self.fabric.global_rank, self.fabric.world_size)
        return iter(loader(self.pairs, places))

    def _due(self, interval: int) -> bool:
        return self.counters.step % interval == 0 or self.counters.step == self.settings.optimization.steps

    def _anywhere(self, here: bool) -> bool:
        flag = torch.tensor(float(here), dtype=torch.float32, device=self.fabric.device)
        found = self.fabric.all_reduce(flag, reduce_op="mean")
        assert isinstance(found, Tensor)
        return bool(found > 0)

    def _note(self, row: dict[str, float], log: TrainingLog | None) -> None:
        """Take a step's row in, and write down the means since the last one where one is due; the rate is the last."""
        counters = self.counters
        counters.sums = {name: counters.sums.get(name, 0.0) + value for name, value in row.items()}
        counters.summed += 1
        if not self._due(self.settings.optimization.log_interval):
            return
        means = {name: value / counters.summed for name, value in counters.sums.items()} | {"rate": row["rate"]}
        if log is not None:
            log.add("log", {"step": counters.step, **means, "seconds": counters.seconds})
        counters.sums, counters.summed = {}, 0

    def _validate(self, log: TrainingLog | None) -> None:
        """Measure the pairs of the split `val`, shared out over the processes, and keep the best model."""
        counters = self.counters
        chosen = chosen_pairs(self.index, self.settings.optimization.validation_pairs)
        if not chosen:
            return
        processes = self.fabric.world_size
        rows = torch.full((-(-len(chosen) // processes), len(row_of({}))), torch.nan, dtype=torch.float64)
        problem = None
        try:
            for k, found in enumerate(self._validated(chosen[self.fabric.global_rank :: processes], log)):
                rows[k] = row_of(found.measures)
        except NephiError as error:
            problem = error
        raise_together(self.fabric, problem)
        gathered = self.fabric.all_gather(rows.to(self.fabric.device))
        assert isinstance(gathered, Tensor)
        # In the order of the pairs, whoever measured them: sums are rounded.
        table = gathered.reshape(processes, *rows.shape).transpose(0, 1).reshape(-1, rows.shape[1])[: len(chosen)]
        measures = mean_measures(table.cpu())
        if log is not None:
            log.add("validation", {"step": counters.step, **measures})
        _, reached = score(measures)
        if counters.best is None or reached > counters.best:
            counters.best, counters.best_step = reached, counters.step
            if log is not None:
                write_model(self._stored(measures), self.folder.best)

    def _validated(self, pairs: Sequence[DatasetPair], log: TrainingLog | None) -> Iterator[ValidatedPair]:
        """Measure pair after pair, and draw the first ones."""
        grid = input_grid(self.settings.input)
        self.stepper.model.eval()
        for k, pair in enumerate(pairs):
            found = validate_pair(self.stepper.model, pair, self.pairs.seen, self.fabric.device)
            if log is not None and k < self.settings.optimization.pictures:
                log.picture(f"validation/{found.name}", panels(found, grid), self.counters.step)
            yield found
        self.stepper.model.train()

    def _checkpoint(self, log: TrainingLog | None) -> None:
        """Write the model, then the state: whoever finds a finished state finds its model."""
        if log is not None:
            self.counters.log_bytes = log.lengths()
            write_model(self._stored({}), self.folder.last)
            scaler = self.fabric.strategy.precision.state_dict()
            optimizer = self.stepper.optimizer
            save_state(self.folder.state, self.counters, self.run, scaler, self.stepper.model, optimizer)
        self.fabric.barrier()

    def _stored(self, measures: dict[str, float]) -> StoredModel:
        settings = self.settings
        about = {**self.about, "step": self.counters.step}
        if measures:
            about["validation"] = measures
        return StoredModel(self.stepper.model, settings.input, settings.objective, about)
