"""One step of a training, and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from nephi.errors import DataError, NephiError
from nephi.models import RegistrationModel
from nephi.objective import keypoint_distance, training_terms
from nephi.settings import TrainingObjectiveSettings
from nephi.training.fabric import raise_in_all
from nephi.training.pairs import KeyedBatch, TrainingPairs
from nephi.training.seeding import SampleKey
from nephi.training.settings import OptimizationSettings, TrainSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def learning_rate(step: int, settings: OptimizationSettings) -> float:
    """Return Adam's step size at a step, from 0: a linear warm-up, then a cosine down to 0 if `decay` is set."""
    warmup_steps = round(settings.warmup * settings.steps)
    if step < warmup_steps:
        return settings.rate * (step + 1) / warmup_steps
    if not settings.decay:
        return settings.rate
    fraction = (step - warmup_steps) / (settings.steps - warmup_steps)
    return settings.rate * 0.5 * (1 + math.cos(math.pi * fraction))


class Terms(nn.Module):
    """The terms of a model's loss as the output of a module, the form that data-parallel training needs."""

    def __init__(self, model: RegistrationModel[Any], objective: TrainingObjectiveSettings) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: KeyedBatch) -> dict[str, Tensor]:
        """Return the weighted terms, means over the pairs."""
        pairs = batch.pairs
        terms: dict[str, Tensor] = {}
        if self.objective.terms() != ["keypoints"]:  # which need no maps
            self.model.use_generators(batch.generators("model"))
            maps = self.model(pairs.fixed, pairs.moving, pairs.pair_ids)
            terms = training_terms(maps, pairs, self.model.grid, self.objective, batch.generators())
        if self.objective.keypoints:
            keypoints = self.model.keypoints(torch.cat([pairs.fixed, pairs.moving]))
            assert keypoints is not None  # see `check_objective`
            assert pairs.fixed_keypoints is not None and pairs.moving_keypoints is not None
            expected = torch.cat([pairs.fixed_keypoints, pairs.moving_keypoints])
            distance = keypoint_distance(keypoints.points, expected, self.model.grid)
            terms["keypoints"] = self.objective.keypoints * distance
        return terms


class Stepper:
    """Steps of Adam on a model, in several processes at once, each with its own pairs.

    The optimizer holds the weights of all phases; those that a phase does not train have no gradient in it, and keep
    their values and moments. `phase` is the number of the current phase.
    """

    def __init__(self, fabric: Fabric, model: RegistrationModel[Any], settings: TrainSettings) -> None:
        self.fabric = fabric
        self.network_steps = [(phase.network_steps, phase.frozen_steps) for phase in settings.phases] + [(0, 0)]
        self.objectives = settings.objectives
        self.settings = settings.optimization
        self.model = model
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = Adam(trained, lr=self.settings.rate)
        self.enter(0)

    def enter(self, phase: int) -> None:
        """Use the objective, and use and train the composed steps, of a phase; `len(phases)` after the last one."""
        self.phase = phase
        self.model.use_steps(*self.network_steps[phase])
        # Set up anew, since data-parallel training registers the weights that have gradients.
        self._terms, self._adam = self.fabric.setup(Terms(self.model, self.objectives[phase]), self.optimizer)

    def step(self, number: int, batches: Iterator[KeyedBatch | NephiError], pairs: TrainingPairs) -> dict[str, float]:
        """Train one step, counted from 0; return its row of the log: rate, loss, its terms, norm of the gradient.

        The values are means over all pairs of all processes. Raises `DataError` before the weights are changed when the
        loss or its gradient is not finite, naming step and pairs, and for images that cannot be read.
        """
        rate = learning_rate(number, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._adam.zero_grad()
        last = self.settings.accumulate - 1
        terms = [self._accumulate(batch, k == last) for k, batch in enumerate(self._next_batches(batches))]
        names = list(terms[0])
        values = torch.stack([torch.stack(list(part.values())) for part in terms])  # (accumulate, terms)
        values = torch.cat([values.sum(dim=1, keepdim=True), values], dim=1)
        norm = self.fabric.clip_gradients(
            self._terms, self._adam, max_norm=self.settings.clip or math.inf, error_if_nonfinite=False
        )
        assert norm is not None
        means = self.fabric.all_reduce(values.mean(dim=0).double(), reduce_op="mean")
        assert isinstance(means, Tensor)
        row = dict(zip(["rate", "loss", *names, "gradient"], [rate, *means.tolist(), float(norm)], strict=True))
        self._require_finite(number, row, values[:, 0], pairs)
        self._adam.step()
        return row

    def _next_batches(self, batches: Iterator[KeyedBatch | NephiError]) -> list[KeyedBatch]:
        items = [next(batches) for _ in range(self.settings.accumulate)]
        raise_in_all(self.fabric, next((item for item in items if isinstance(item, NephiError)), None))
        return [item for item in items if isinstance(item, KeyedBatch)]

    def _accumulate(self, batch: KeyedBatch, last: bool) -> dict[str, Tensor]:
        """Return the terms of a batch, and add their gradient to those of the step."""
        with self.fabric.no_backward_sync(self._terms, enabled=not last and self.fabric.world_size > 1):
            terms: dict[str, Tensor] = self._terms(batch.to(self.fabric.device))
            self.fabric.backward(torch.stack(list(terms.values())).sum() / self.settings.accumulate)
        return {name: term.detach() for name, term in terms.items()}

    def _require_finite(self, number: int, row: dict[str, float], losses: Tensor, pairs: TrainingPairs) -> None:
        """Raise `DataError` in all processes, which have the same `row`, if loss or gradient are not finite."""
        # In half precision a gradient out of range is usual: the loss scaler skips that step.
        name = "loss" if not math.isfinite(row["loss"]) else "gradient"
        if math.isfinite(row[name]) or (name == "gradient" and self.settings.precision == "16-mixed"):
            return
        gathered = self.fabric.all_gather(losses.isfinite())
        assert isinstance(gathered, Tensor)
        is_finite = gathered.reshape(self.fabric.world_size, -1).T.reshape(-1)  # in the order of a step's batches
        failed = [k for k, finite in enumerate(is_finite.tolist()) if not finite] or range(len(is_finite))
        size = self.settings.batch
        keys = [SampleKey(number, k * size + position) for k in failed for position in range(size)]
        names = ", ".join(f"{pair.fixed}--{pair.moving}" for pair in map(pairs.pair, keys))
        raise DataError(
            f"step {number + 1}: expected a finite {name}, got {row[name]:g}, with the pairs {names}; the last "
            "checkpoint is kept; inspect these images, or lower optimization.rate"
        )
