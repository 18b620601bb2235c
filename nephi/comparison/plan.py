"""The plan of a comparison: everything is validated before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from nephi.comparison.costs import phase_fractions
from nephi.comparison.settings import BudgetSettings, ComparedModel, ComparisonSettings, ScoringSettings
from nephi.datasets import DatasetIndex, DatasetPair, read_dataset_index
from nephi.errors import DataError, NephiError, UsageError
from nephi.io import image_grid, read_point_pairs
from nephi.models import InputSettings, ModelSize, model_class
from nephi.runtime import choose_device
from nephi.training.data_checks import check_images
from nephi.training.fabric import require_extra
from nephi.training.run import checked_training
from nephi.training.settings import TrainSettings

SPLITS = ("test", "val")  # the first of these is scored by default


@dataclass(frozen=True)
class PlannedModel:
    """A model of a comparison with its sizes; `settings` hold the budget, but for steps that are not yet planned."""

    name: str
    settings: TrainSettings
    size: ModelSize

    @property
    def kind(self) -> str:
        """The value of `model.kind`."""
        return self.settings.model.kind


@dataclass(frozen=True)
class ComparisonPlan:
    """The models that a comparison trains, their `budget`, and the number of `pairs` of a split that it scores."""

    models: tuple[PlannedModel, ...]
    budget: BudgetSettings
    scoring: ScoringSettings
    pairs: int


def plan_comparison(settings: ComparisonSettings, device: str = "auto") -> ComparisonPlan:
    """Validate the data and every model of a comparison, and return its plan; nothing is computed or written.

    Raises `UsageError` and `DataError`, naming the model, as `nephi.train`; for a model that can only register the
    pairs of its training; and for a split without labels and landmarks, on which nothing could be scored.
    """
    require_extra()
    choose_device(device)
    first = settings.models[0].settings
    index = read_dataset_index(first.data.index)
    scoring = replace(settings.scoring, split=_scored_split(index, settings.scoring.split))
    pairs = scored_pairs(index, scoring)
    _check_references(index, pairs, scoring.split)
    checked: dict[InputSettings, DatasetIndex] = {}
    models = tuple(_planned_model(model, settings.budget, scoring.split, checked) for model in settings.models)
    return ComparisonPlan(models, settings.budget, scoring, len(pairs))


def scored_pairs(index: DatasetIndex, scoring: ScoringSettings) -> list[DatasetPair]:
    """Return the pairs that are scored, evenly spaced in the list of their split."""
    pairs = index.pairs(scoring.split)
    count = min(scoring.pairs, len(pairs))
    return [pairs[k * len(pairs) // count] for k in range(count)]


def _scored_split(index: DatasetIndex, chosen: str) -> str:
    if chosen:
        index.split(chosen)  # raises the error that lists the splits
        return chosen
    split = next((name for name in SPLITS if name in index.splits), None)
    if split is None:
        raise DataError(
            f"the data set {index.name!r}: expected a split test or val to score the models on, got "
            f"{', '.join(index.splits)}"
        )
    return split


def _check_references(index: DatasetIndex, pairs: Sequence[DatasetPair], split: str) -> None:
    """Raise `DataError` for pairs without labels and landmarks, or with landmarks that cannot be used."""
    if not pairs:
        raise DataError(f"the data set {index.name!r}: expected pairs in the split {split} to score, got none")
    labelled = [p for p in pairs if all(index.image(id).labels is not None for id in (p.fixed, p.moving))]
    landmarks = [pair.landmarks for pair in pairs if pair.landmarks is not None]
    if not labelled and not landmarks:
        raise DataError(
            f"the data set {index.name!r}: expected labels or landmarks in the split {split} to score, got neither; "
            "add some to the index"
        )
    for path in map(index.path, dict.fromkeys(landmarks)):
        if (dimension := read_point_pairs(path).fixed.dimension) != index.dimension:
            raise DataError(f"{path}: expected {index.dimension}-D points, as in the index, got {dimension}-D ones")
    for relative in dict.fromkeys(index.image(id).labels for pair in labelled for id in (pair.fixed, pair.moving)):
        assert relative is not None
        if (dimension := image_grid(index.path(relative)).dimension) != index.dimension:
            raise DataError(f"{index.path(relative)}: expected {index.dimension}-D labels, got {dimension}-D ones")


def _planned_model(
    model: ComparedModel, budget: BudgetSettings, split: str, checked: dict[InputSettings, DatasetIndex]
) -> PlannedModel:
    """Validate a model; its data unless they are `checked` for the same input of another model."""
    try:
        budgeted, known = with_budget(model.settings, budget), checked.get(model.settings.input)
        settings, index, network = checked_training(budgeted, checked=known)
        if known is None:
            check_images(index, settings, (split,))
            checked[settings.input] = index
        if network.pair_parameters():
            raise UsageError(
                f"model.kind: expected a model that registers other pairs than those of its training, got "
                f"{settings.model.kind!r}"
            )
        size: ModelSize = model_class(settings.model).size(settings.model, network.grid)
    except NephiError as error:
        raise type(error)(f"model {model.name}: {error}") from None
    return PlannedModel(model.name, settings, size)


def with_budget(settings: TrainSettings, budget: BudgetSettings, steps: int = 0) -> TrainSettings:
    """Return settings with the threads of the budget, and with its number of steps, or `steps` planned ones.

    Phases keep their fractions of the steps.
    """
    count = budget.steps or steps
    changes: dict[str, Any] = {"threads": budget.threads, "workers": 0}
    if not count:
        return replace(settings, optimization=replace(settings.optimization, **changes))
    changes |= {"steps": count, "validation_interval": max(1, count // budget.validations)}
    ends = [round(count * fraction) for fraction in accumulate(phase_fractions(settings))]
    lengths = [max(1, end - begin) for begin, end in zip([0, *ends], ends, strict=False)]
    phases = tuple(replace(phase, steps=n) for phase, n in zip(settings.phases, lengths, strict=False))
    return replace(settings, optimization=replace(settings.optimization, **changes), phases=phases)
