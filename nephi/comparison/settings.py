"""The settings of a comparison of models: frozen dataclasses, read from a TOML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nephi.errors import UsageError
from nephi.settings import merged_tables, toml_table
from nephi.settings.validation import MOST_STEPS, MOST_THREADS, require_at_least
from nephi.tables import from_table, short_repr
from nephi.training import TrainSettings
from nephi.training.settings_file import located_index, tables_over_preset, train_settings

COMMON = ("input", "objective", "augmentation", "optimization")  # tables of all models
OWN = ("model", *COMMON, "phases")  # tables of a single model
BUDGETED = ("steps", "threads", "workers", "validation_interval")  # of [optimization]: [budget] determines them
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MOST_MODELS = 1000
MOST_MINUTES = 1e6


@dataclass(frozen=True)
class BudgetSettings:
    """The training that every model gets: either `minutes` or `steps`.

    minutes: duration of the steps of a training. Their number is planned from the duration of the first ones, so that
        the learning rate ends as its schedule requires.
    steps: number of steps of a training.
    threads: CPU threads of a training, which also reads and augments the images; 0: all cores.
    validations: number of validations during a training, the points of its learning curve.
    """

    minutes: float = 0.0
    steps: int = 0
    threads: int = 1
    validations: int = 20

    def __post_init__(self) -> None:
        require_at_least("budget", 0, high=MOST_MINUTES, minutes=self.minutes)
        require_at_least("budget", 0, high=MOST_STEPS, steps=self.steps)
        require_at_least("budget", 0, high=MOST_THREADS, threads=self.threads)
        require_at_least("budget", 1, high=MOST_STEPS, validations=self.validations)
        if bool(self.minutes) == bool(self.steps):
            raise UsageError(
                f"budget: expected either minutes or steps above 0, got minutes = {self.minutes:g} and "
                f"steps = {self.steps}"
            )


@dataclass(frozen=True)
class ScoringSettings:
    """The pairs on which trained models are scored.

    split: a split of the data set; empty: `test`, or `val` where there is no test split.
    pairs: largest number of its pairs, evenly spaced in its list.
    equivariance_pairs: largest number of these pairs on which equivariance is measured.
    shift, rotation: largest shift along each axis, as a fraction of the edge, and largest angle, degrees, of the random
        movements for which equivariance is measured.
    repetitions: number of predictions of which the median time is taken.
    """

    split: str = ""
    pairs: int = 200
    equivariance_pairs: int = 16
    shift: float = 0.125
    rotation: float = 0.0
    repetitions: int = 9

    def __post_init__(self) -> None:
        for name in ("pairs", "repetitions"):
            require_at_least("scoring", 1, high=MOST_STEPS, **{name: getattr(self, name)})
        require_at_least("scoring", 0, high=MOST_STEPS, equivariance_pairs=self.equivariance_pairs)
        require_at_least("scoring", 0, high=0.5, shift=self.shift)
        require_at_least("scoring", 0, high=180, rotation=self.rotation)


@dataclass(frozen=True)
class ComparedModel:
    """A model of a comparison: its `name` in the table, and the settings of its training without the budget."""

    name: str
    settings: TrainSettings


@dataclass(frozen=True)
class ComparisonSettings:
    """The models of a comparison, in the order of the table; their common budget, and how they are scored."""

    models: tuple[ComparedModel, ...]
    budget: BudgetSettings
    scoring: ScoringSettings = ScoringSettings()

    def __post_init__(self) -> None:
        if not 1 <= len(self.models) <= MOST_MODELS:
            raise UsageError(f"models: expected 1 to {MOST_MODELS} tables [[models]], got {len(self.models)}")
        names: dict[str, str] = {}
        for model in self.models:
            if not NAME.fullmatch(model.name):
                raise UsageError(
                    "models.name: expected up to 64 letters, digits, dots, dashes and underscores, the first a letter "
                    f"or digit, got {short_repr(model.name)}"
                )
            folded = model.name.casefold()  # the names of folders, equal on some file systems
            if folded in names:
                raise UsageError(f"models.name: expected different names, got {names[folded]} and {model.name}")
            names[folded] = model.name


def read_comparison_settings(path: str | Path) -> ComparisonSettings:
    """Read the settings of a comparison from a TOML file.

    The tables `[input]`, `[objective]`, `[augmentation]` and `[optimization]` hold for all models. Each `[[models]]`
    has a `name`, may start from a `preset` of a training, and overrides keys of these tables, and of `[model]`, in
    tables of its own, such as `[models.optimization]`. The path of the index is relative to the file.

    Raises `UsageError` naming the file, and the model, for a missing or malformed file, an unknown table or key, a
    value of the wrong type, two models of one name, and settings that the budget determines.
    """
    table = toml_table(path)
    try:
        return _comparison_settings(table, Path(path))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _comparison_settings(table: Mapping[str, Any], path: Path) -> ComparisonSettings:
    known = ("data", "budget", "scoring", *COMMON, "models")
    if unknown := sorted(table.keys() - {*known}):
        raise UsageError(f"{unknown[0][:80]}: unknown table; expected one of {', '.join(known)}")
    if "budget" not in table:
        raise UsageError("budget: expected a table with minutes or steps, got none")
    entries = table.get("models", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"models: expected tables [[models]], got {short_repr(entries)}")
    common = {name: table[name] for name in ("data", *COMMON) if name in table}
    _require_no_budget(common)
    return ComparisonSettings(
        tuple(_compared_model(entry, number, common, path) for number, entry in enumerate(entries, start=1)),
        from_table(BudgetSettings, table["budget"], "budget."),
        from_table(ScoringSettings, table.get("scoring", {}), "scoring."),
    )


def _compared_model(entry: Mapping[str, Any], number: int, common: Mapping[str, Any], path: Path) -> ComparedModel:
    name = entry.get("name")
    if not isinstance(name, str):
        raise UsageError(f"models: expected a text as name of model {number}, got {short_repr(name)}")
    known = ("name", "preset", *OWN)
    try:
        if unknown := sorted(entry.keys() - {*known}):
            raise UsageError(f"{unknown[0][:80]}: unknown key; expected one of {', '.join(known)}")
        own = {key: value for key, value in entry.items() if key != "name"}
        _require_no_budget(own)
        settings = train_settings(tables_over_preset(merged_tables(common, own)))
    except UsageError as error:
        raise UsageError(f"model {name}: {error}") from None
    return ComparedModel(name, replace(settings, data=located_index(settings.data, path)))


def _require_no_budget(tables: Mapping[str, Any]) -> None:
    """Raise `UsageError` for a setting of the optimization that the budget determines.

    The steps of a model with phases are allowed: those of the phases are fractions of them.
    """
    optimization = tables.get("optimization", {})
    for name in BUDGETED if "phases" not in tables else BUDGETED[1:]:
        if isinstance(optimization, Mapping) and name in optimization:
            raise UsageError(f"optimization.{name}: expected none, as [budget] determines it; remove it")


def scoring_table(scoring: ScoringSettings) -> dict[str, Any]:
    """Return the settings of the scoring as a plain table."""
    return asdict(scoring)


def budget_table(budget: BudgetSettings) -> dict[str, Any]:
    """Return the settings of the budget as a plain table, without the kind of budget that is not used."""
    return {name: value for name, value in asdict(budget).items() if value or name == "threads"}
