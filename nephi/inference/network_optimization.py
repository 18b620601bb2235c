"""Instance optimisation of the weights of a network for one pair of images."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from nephi.errors import DataError, UsageError
from nephi.inference.refinement_settings import Refinement
from nephi.models import ModelInput, RegistrationModel, StoredModel
from nephi.objective import PairBatch, training_terms
from nephi.runtime import Progress, ProgressCallback
from nephi.settings import check_weights, with_training_similarity


def optimize_network(
    model: StoredModel,
    inputs: tuple[ModelInput, ModelInput],
    refinement: Refinement,
    device: torch.device,
    generator: torch.Generator,
    progress: ProgressCallback,
) -> tuple[RegistrationModel[Any], list[dict[str, float]]]:
    """Return a copy of a model, on `device`, whose weights are optimised for one pair, and the history of the loss.

    As GradICON has it (Tian et al., CVPR 2023; 50 steps at 2e-5): Adam on all trained weights minimises the objective
    of the training (with the similarity that `refinement` names, if it does), at new random points in each step; layers
    that depend on the mode (batch normalisation) stay in evaluation mode. `inputs` are the model's inputs, fixed and
    moving, with the masks in which the points lie. A row of the history is a step: `level` (0), `loss` and its terms.

    Raises `UsageError` as `check_network`, `DataError` when the loss is not finite.
    """
    check_network(model)
    objective = model.objective
    if refinement.similarity:
        objective = with_training_similarity(objective, refinement.similarity)
    network = copy.deepcopy(model.model).to(device).eval()
    batch = _batch(inputs).to(device)
    optimizer = torch.optim.Adam(_trained(network), refinement.rate)
    history: list[dict[str, float]] = []
    for step in range(1, refinement.steps + 1):
        optimizer.zero_grad()
        maps = network(batch.fixed, batch.moving)
        terms = training_terms(maps, batch, network.grid, objective, [generator])
        loss = torch.stack(list(terms.values())).sum()
        value = float(loss.detach())
        if not math.isfinite(value):
            advice = "train the model again" if step == 1 else "lower refine_rate"
            raise DataError(f"refine: expected a finite loss in step {step}, got {value:g}; {advice}")
        loss.backward()
        optimizer.step()
        history.append({"level": 0.0, "loss": value} | {name: float(term.detach()) for name, term in terms.items()})
        progress(Progress("network", step, refinement.steps, value))
    return network, history


def check_network(model: StoredModel) -> None:
    """Raise `UsageError` for a model without trained weights, and for an objective that it cannot minimise for a pair.

    That is one with weights of terms that it does not have, or without the similarity of the images.
    """
    if not _trained(model.model):
        raise UsageError('refine_parameters: expected a model with trained weights for "network", got one without any')
    if not model.objective.similarity_weight:
        raise UsageError(
            'refine_parameters: expected a model trained to compare images for "network", got one with '
            "objective.similarity_weight = 0"
        )
    outputs = model.model.outputs(model.settings)
    name = f"a refinement of the network of kind {model.settings.kind}"
    check_weights(model.objective, outputs.inverse, outputs.penalties, name)


def _trained(network: RegistrationModel[Any]) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad and parameter.numel()]


def _batch(inputs: tuple[ModelInput, ModelInput]) -> PairBatch:
    """Return the model's inputs as a batch of one pair."""
    fixed, moving = inputs
    masks = [None if each.mask is None else each.mask[None] for each in inputs]
    return PairBatch(fixed.values[None], moving.values[None], *masks)
