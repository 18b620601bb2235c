"""Instance optimisation of the weights of a copy of a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nephi.errors import DataError, UsageError
from nephi.inference import Refinement, network_optimization, predict
from nephi.inference.network_optimization import optimize_network
from nephi.models import ModelInput, StoredModel, model_bytes, to_model_input
from nephi.objective import PairBatch
from nephi.runtime import Progress
from nephi.settings import TrainingObjectiveSettings
from nephi.transforms import MapPair

from ..models.predictions import model, pair

CPU = torch.device("cpu")


OBJECTIVE = TrainingObjectiveSettings(gradicon=0.0, codes=0.0, diffusion=0.01)


def unet(dimension: int) -> StoredModel:
    return replace(model("unet", dimension), objective=OBJECTIVE)


def inputs(stored: StoredModel) -> tuple[ModelInput, ModelInput]:
    fixed, moving = (to_model_input(each, None, stored.input) for each in pair(stored.input.dimension))
    return fixed, moving


def optimized(stored: StoredModel, steps: int, rate: float, seen: list[Progress] | None = None) -> tuple[Any, Any]:
    callback = (lambda _: None) if seen is None else seen.append
    return optimize_network(
        stored, inputs(stored), Refinement(steps, "network", rate), CPU, torch.Generator().manual_seed(1), callback
    )


def test_a_model_trained_on_labels_only_has_nothing_to_optimise() -> None:
    stored = replace(model("unet", 2), objective=replace(OBJECTIVE, similarity_weight=0.0, dice=1.0))
    with pytest.raises(
        UsageError, match=r"^refine_parameters: expected a model trained to compare images for .*weight = 0$"
    ):
        optimized(stored, 1, 1e-3)


@pytest.mark.parametrize("name", ["unet", "dense"])
def test_the_objective_of_the_training_falls(name: str) -> None:
    stored = replace(model(name, 2), objective=OBJECTIVE)
    seen: list[Progress] = []
    _, history = optimized(stored, 40, 3e-3, seen)
    assert [list(row) for row in history] == [["level", "loss", "similarity", "diffusion"]] * 40
    first, last = (sum(row["loss"] for row in rows) / 10 for rows in (history[:10], history[-10:]))
    assert last < 0.7 * first
    assert [(each.step, each.total, each.loss) for each in seen] == [(k + 1, 40, history[k]["loss"]) for k in range(40)]


def test_the_first_step_of_adam(dimension: int) -> None:
    """It changes each weight that has a gradient by the learning rate."""
    stored = unet(dimension)
    before = {name: value.detach().clone() for name, value in stored.model.named_parameters()}
    network, _ = optimized(stored, 1, 1e-3)
    assert network is not stored.model and not network.training
    changes = torch.cat([(value.detach() - before[name]).reshape(-1) for name, value in network.named_parameters()])
    assert float((changes != 0).float().mean()) > 0.9
    assert float((changes[changes != 0].abs() - 1e-3).abs().median()) < 1e-5
    for name, value in stored.model.named_parameters():
        assert torch.equal(value, before[name]) and value.grad is None


def test_points_lie_in_the_masks_of_the_model_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[PairBatch] = []

    def recorded(maps: MapPair, batch: PairBatch, *others: object) -> dict[str, Tensor]:
        seen.append(batch)
        return {"similarity": maps.forward(torch.zeros(1, 1, 2)).sum()}

    monkeypatch.setattr(network_optimization, "training_terms", recorded)
    for stored in (unet(2), replace(model("unet", 2, mask="foreground"), objective=OBJECTIVE)):
        both = inputs(stored)
        optimize_network(stored, both, Refinement(1, "network"), CPU, torch.Generator(), lambda _: None)
        batch = seen.pop()
        for values, mask, each in zip(
            (batch.fixed, batch.moving), (batch.fixed_mask, batch.moving_mask), both, strict=True
        ):
            assert torch.equal(values, each.values[None]) and batch.pair_ids is None
            assert (mask is None) == (each.mask is None) == (stored.input.mask == "none")
            assert mask is None or each.mask is None or torch.equal(mask, each.mask[None])


def test_a_prediction_with_optimised_weights() -> None:
    stored, images = unet(2), pair(2)
    before = model_bytes(stored)
    result = predict(*images, model=stored, refinement=Refinement(2, "network", 1e-3), device="cpu")
    assert set(result.usage.stages) == {"prepare", "fit", "predict"} and len(result.history) == 2
    assert result.stored.about["refinement"] == {"steps": 2, "parameters": "network", "rate": 1e-3}
    assert model_bytes(stored) == before
    network, _ = optimize_network(
        stored, inputs(stored), Refinement(2, "network", 1e-3), CPU, torch.Generator().manual_seed(0), lambda _: None
    )
    expected = predict(*images, model=replace(stored, model=network), device="cpu")
    points = images[0].grid.voxel_centres().reshape(-1, 2).double()
    assert torch.equal(result.transform(points), expected.transform(points))


def test_weights_that_are_not_finite() -> None:
    stored = unet(2)
    next(stored.model.parameters()).data.fill_(torch.nan)
    with pytest.raises(DataError, match=r"refine: expected a finite loss in step 1, got nan; train the model again"):
        optimized(stored, 1, 1e-3)


def test_a_loss_that_diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([1.0, torch.inf])
    monkeypatch.setattr(
        network_optimization,
        "training_terms",
        lambda maps, *others: {"similarity": maps.forward(torch.zeros(1, 1, 2)).sum() * 0 + next(losses)},
    )
    with pytest.raises(DataError, match=r"refine: expected a finite loss in step 2, got inf; lower refine_rate"):
        optimized(unet(2), 3, 1e-3)


def test_a_model_without_weights_is_refused() -> None:
    stored = model("unet", 2)
    stored.model.requires_grad_(False)
    with pytest.raises(UsageError, match='refine_parameters: expected a model with trained weights for "network"'):
        optimized(stored, 1, 1e-3)


def test_an_objective_that_the_model_cannot_have_is_refused_before_anything_is_read() -> None:
    with pytest.raises(UsageError, match=r"objective\.gradicon: expected 0 for a refinement of .* \(no inverse map\)"):
        predict("no.nii", "no.nii", model=model("unet", 2), refinement=Refinement(1, "network"), device="cpu")


def test_the_learning_rate() -> None:
    assert Refinement(50, "network").rate == 2e-5
    assert Refinement(50, "all").table() == {"steps": 50, "parameters": "all"}
    for rate in (0.0, -1.0, float("nan"), float("inf"), 1.5):
        with pytest.raises(UsageError, match="refine_rate: expected a number above 0, at most 1"):
            Refinement(50, "network", rate)
    with pytest.raises(UsageError, match=r'refine_rate: only for .* = "network", got 0\.1 for "all"'):
        Refinement(50, "all", 0.1)


@pytest.mark.parametrize("name", ["lncc", "mind", "mse", "nmi"])
def test_another_similarity_than_that_of_the_training(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, seen = network_optimization.training_terms, []

    def recorded(*arguments: Any) -> dict[str, Tensor]:
        seen.append(arguments[3])
        return whole(*arguments)

    monkeypatch.setattr(network_optimization, "training_terms", recorded)
    stored, images = unet(2), pair(2)
    result = predict(*images, model=stored, refinement=Refinement(1, "network", similarity=name), device="cpu")
    assert [each.similarity for each in seen] == [name] and stored.objective.similarity == "ncc"
    assert result.stored.about["refinement"]["similarity"] == name
    with pytest.raises(UsageError, match=r'refine_similarity: only for refine_parameters = "network", got mse'):
        Refinement(1, "all", similarity="mse")
    with pytest.raises(UsageError, match="similarity"):
        Refinement(1, "network", similarity="ssd")
