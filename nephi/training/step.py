"""One step of a training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from nephi.errors import DataError, NephiError
from nephi.models import RegistrationModel
from nephi.settings import TrainingObjectiveSettings
from nephi.training.distributed import raise_together
from nephi.training.objective import training_terms
from nephi.training.pairs import Place, PlacedBatch, TrainingPairs
from nephi.training.schedule import learning_rate
from nephi.training.settings import OptimizationSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Terms(nn.Module):
    """The terms of a model's loss as the output of a module, the form that data-parallel training needs."""

    def __init__(self, model: RegistrationModel[Any], objective: TrainingObjectiveSettings) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: PlacedBatch) -> dict[str, Tensor]:
        """Return the weighted terms, means over the pairs."""
        pairs = batch.pairs
        maps = self.model(pairs.fixed, pairs.moving, pairs.pair_ids)
        return training_terms(maps, pairs, self.model.grid, self.objective, batch.generators())


class Stepper:
    """Steps of Adam on a model, in several processes at once, each with its own pairs."""

    def __init__(
        self,
        fabric: Fabric,
        model: RegistrationModel[Any],
        objective: TrainingObjectiveSettings,
        loop: OptimizationSettings,
    ) -> None:
        self.fabric = fabric
        self.loop = loop
        self.model = model
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = Adam(trained, lr=loop.rate)
        self._terms, self._adam = fabric.setup(Terms(model, objective), self.optimizer)

    def step(self, number: int, batches: Iterator[PlacedBatch | NephiError], pairs: TrainingPairs) -> dict[str, float]:
        """Take the step of that number and return its row of the log: rate, loss, its terms, norm of the gradient.

        The numbers are means over all pairs of all processes. Raises `DataError` before the weights are changed when
        the loss or its gradient is not finite, naming step and pairs, and for images that cannot be read.
        """
        rate = learning_rate(number, self.loop)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._adam.zero_grad()
        parts = [self._accumulate(each, k == self.loop.accumulate - 1) for k, each in enumerate(self._next(batches))]
        names = list(parts[0])
        values = torch.stack([torch.stack(list(part.values())) for part in parts])  # (accumulate, terms)
        values = torch.cat([values.sum(dim=1, keepdim=True), values], dim=1)
        norm = self.fabric.clip_gradients(
            self._terms, self._adam, max_norm=self.loop.clip or math.inf, error_if_nonfinite=False
        )
        assert norm is not None
        means = self.fabric.all_reduce(values.mean(dim=0).double(), reduce_op="mean")
        assert isinstance(means, Tensor)
        row = dict(zip(["rate", "loss", *names, "gradient"], [rate, *means.tolist(), float(norm)], strict=True))
        self._require_finite(number, row, values[:, 0], pairs)
        self._adam.step()
        return row

    def _next(self, batches: Iterator[PlacedBatch | NephiError]) -> list[PlacedBatch]:
        read = [next(batches) for _ in range(self.loop.accumulate)]
        raise_together(self.fabric, next((each for each in read if isinstance(each, NephiError)), None))
        return [each for each in read if isinstance(each, PlacedBatch)]

    def _accumulate(self, batch: PlacedBatch, last: bool) -> dict[str, Tensor]:
        with self.fabric.no_backward_sync(self._terms, enabled=not last and self.fabric.world_size > 1):
            terms: dict[str, Tensor] = self._terms(batch.to(self.fabric.device))
            self.fabric.backward(torch.stack(list(terms.values())).sum() / self.loop.accumulate)
        return {name: term.detach() for name, term in terms.items()}

    def _require_finite(self, number: int, row: dict[str, float], losses: Tensor, pairs: TrainingPairs) -> None:
        """Every process knows the same `row`, so that all of them stop."""
        # In half precision a gradient beyond its range is usual: the scaler leaves that step out.
        what = "loss" if not math.isfinite(row["loss"]) else "gradient"
        if math.isfinite(row[what]) or (what == "gradient" and self.loop.precision == "16-mixed"):
            return
        gathered = self.fabric.all_gather(losses.isfinite())
        assert isinstance(gathered, Tensor)
        good = gathered.reshape(self.fabric.world_size, -1).T.reshape(-1)  # as batches follow in a step
        bad = [k for k, fine in enumerate(good.tolist()) if not fine] or range(len(good))
        places = [Place(number, k * self.loop.batch + each) for k in bad for each in range(self.loop.batch)]
        names = ", ".join(f"{pair.fixed}--{pair.moving}" for pair in map(pairs.drawn, places))
        raise DataError(
            f"step {number + 1}: expected a finite {what}, found {row[what]:g}, with the pairs {names}; the last "
            "checkpoint is kept; look at these images, or lower optimization.rate"
        )
