"""The loop over the steps of a training, with log, validation and checkpoints."""

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
from nephi.training.fabric import any_process, raise_in_all
from nephi.training.folder import RunFolder
from nephi.training.log import TrainingLog
from nephi.training.pairs import BatchKeys, KeyedBatch, TrainingPairs, batch_loader
from nephi.training.pictures import panels
from nephi.training.settings import TrainSettings
from nephi.training.step import Stepper
from nephi.training.validation import ValidatedPair, chosen_pairs, mean_measures, row_of, score, validate_pair

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(eq=False)
class Training:
    """A training: `run` identifies it, `about` is stored in its models."""

    fabric: Fabric
    settings: TrainSettings
    folder: RunFolder
    index: DatasetIndex
    stepper: Stepper
    pairs: TrainingPairs
    counters: Counters
    run: dict[str, Any]
    about: dict[str, Any]

    def train(self, log: TrainingLog | None, interrupted: Callable[[], bool], progress: ProgressCallback) -> bool:
        """Train from the current counters to the last step; return False when `interrupted` was true before it.

        The first process has a `log` and writes the files.
        """
        settings, counters = self.settings.optimization, self.counters
        if not counters.started:
            self._validate(log)
            counters.started = True
            self._save(log)
        batches = self._batches()
        while counters.step < settings.steps:
            start = time.monotonic()
            if (phase := self.settings.phase_number(counters.step)) != self.stepper.phase:
                self.stepper.enter(phase)
            row = self.stepper.step(counters.step, batches, self.pairs)
            counters.step += 1
            counters.seconds += time.monotonic() - start
            self._log_row(row, log)
            progress(Progress("train", counters.step, settings.steps, row["loss"]))
            if self._is_due(settings.validation_interval):
                self._validate(log)
            stop = any_process(self.fabric, interrupted())
            if self._is_due(settings.checkpoint_interval) or stop:
                self._save(log)
            if stop:
                break
        return counters.step == settings.steps

    def _batches(self) -> Iterator[KeyedBatch | NephiError]:
        keys = BatchKeys(self.settings, self.counters.step, self.fabric.global_rank, self.fabric.world_size)
        return iter(batch_loader(self.pairs, keys))

    def _is_due(self, interval: int) -> bool:
        return self.counters.step % interval == 0 or self.counters.step == self.settings.optimization.steps

    def _log_row(self, row: dict[str, float], log: TrainingLog | None) -> None:
        """Add a step's row to the sums, and write their means where a row of the log is due; the rate is the last."""
        counters = self.counters
        counters.sums = {name: counters.sums.get(name, 0.0) + value for name, value in row.items()}
        counters.summed += 1
        phase = self.stepper.phase
        # The mean of a row does not reach over the end of a phase, whose terms may differ from the next one's.
        ends_phase = self.settings.phase_number(counters.step) != phase
        if not (ends_phase or self._is_due(self.settings.optimization.log_interval)):
            return
        means = {name: value / counters.summed for name, value in counters.sums.items()} | {"rate": row["rate"]}
        if log is not None:
            names = ("rate", "loss", *self._terms(), "gradient")
            columns: dict[str, float | None] = {"step": counters.step, "phase": phase + 1, **dict.fromkeys(names)}
            log.add("log", columns | means | {"seconds": counters.seconds})
        counters.sums, counters.summed = {}, 0

    def _terms(self) -> list[str]:
        """Return the names of the terms of all phases: the columns of the log."""
        names = [objective.terms() for objective in self.settings.objectives]
        return list(dict.fromkeys(name for terms in names for name in terms))

    def _validate(self, log: TrainingLog | None) -> None:
        """Measure the pairs of the split `val`, distributed over the processes, and keep the best model."""
        counters = self.counters
        pairs = chosen_pairs(self.index, self.settings.optimization.validation_pairs)
        if not pairs:
            return
        measures = mean_measures(self._measure(pairs, log))
        if log is not None:
            log.add("validation", {"step": counters.step, **measures})
        _, value = score(measures)
        if counters.best is None or value > counters.best:
            counters.best, counters.best_step = value, counters.step
            if log is not None:
                write_model(self._stored_model(measures), self.folder.best)

    def _measure(self, pairs: Sequence[DatasetPair], log: TrainingLog | None) -> Tensor:
        """Return the rows of all pairs `(P, len(MEASURES))`, in their order, in every process."""
        processes = self.fabric.world_size
        rows = torch.full((-(-len(pairs) // processes), len(row_of({}))), torch.nan, dtype=torch.float64)
        error = None
        try:
            for k, validated in enumerate(self._validated(pairs[self.fabric.global_rank :: processes], log)):
                rows[k] = row_of(validated.measures)
        except NephiError as caught:
            error = caught
        raise_in_all(self.fabric, error)
        gathered = self.fabric.all_gather(rows.to(self.fabric.device))
        assert isinstance(gathered, Tensor)
        # In the order of the pairs, whatever the number of processes: the rounding of sums depends on it.
        return gathered.reshape(processes, *rows.shape).transpose(0, 1).reshape(-1, rows.shape[1])[: len(pairs)].cpu()

    def _validated(self, pairs: Sequence[DatasetPair], log: TrainingLog | None) -> Iterator[ValidatedPair]:
        """Yield the measures of each pair, and draw the first ones."""
        grid = input_grid(self.settings.input)
        self.stepper.model.eval()
        for k, pair in enumerate(pairs):
            validated = validate_pair(self.stepper.model, pair, self.pairs.inputs, self.fabric.device)
            if log is not None and k < self.settings.optimization.pictures:
                log.add_picture(f"validation/{validated.name}", panels(validated, grid), self.counters.step)
            yield validated
        self.stepper.model.train()

    def _save(self, log: TrainingLog | None) -> None:
        """Write the model, then the state, so that every complete state has its model."""
        if log is not None:
            self.counters.log_bytes = log.lengths()
            write_model(self._stored_model({}), self.folder.last)
            scaler = self.fabric.strategy.precision.state_dict()
            optimizer = self.stepper.optimizer
            save_state(self.folder.state, self.counters, self.run, scaler, self.stepper.model, optimizer)
        self.fabric.barrier()

    def _stored_model(self, measures: dict[str, float]) -> StoredModel:
        settings = self.settings
        about = {**self.about, "step": self.counters.step}
        if measures:
            about["validation"] = measures
        return StoredModel(self.stepper.model, settings.input, settings.objective, about)
