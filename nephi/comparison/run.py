"""Train and score the models of a comparison, one after the other, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nephi.comparison.costs import StepCost
from nephi.comparison.folder import ComparisonFolder, ModelFolder
from nephi.comparison.plan import ComparisonPlan, PlannedModel, plan_comparison, with_budget
from nephi.comparison.process import run_task
from nephi.comparison.settings import ComparisonSettings, scoring_table
from nephi.errors import DataError, UsageError
from nephi.optimize import Progress, ProgressCallback, ignore_progress
from nephi.runtime import versions
from nephi.training.settings_file import difference, result_settings, train_settings_table, value_at

Row = dict[str, Any]
NOT_PLANNED = ("steps", "validation_interval")  # of [optimization], in the identity of a model


@dataclass(frozen=True)
class ComparisonResult:
    """The `rows` of a comparison, one for each model, in their order; a model that failed has the key `error`.

    `table`, `json` and `curves` are the files of the table in Markdown, of the rows, and of the learning curves.
    """

    rows: list[Row]
    table: Path
    json: Path
    curves: Path

    @property
    def failed(self) -> list[Row]:
        """The rows of the models that failed."""
        return [row for row in self.rows if "error" in row]


def compare_models(
    settings: ComparisonSettings,
    output: str | Path,
    *,
    score_only: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: ProgressCallback = ignore_progress,
    finished: Callable[[Row], None] = lambda row: None,
) -> ComparisonResult:
    """Train models under one budget, score them on unseen pairs, and write one table and the learning curves.

    The folder `output` then has a folder for each model with its run, and `comparison.md`, `comparison.json` and
    `curves.png`, written anew after every model. Finished models are not trained again, interrupted ones continue: on a
    CPU with a result that does not depend on the interruption. With a budget in minutes the number of steps is planned
    once, from the duration of the first steps, and stored. A model that fails does not end the comparison. With
    `score_only` nothing is trained, and the models in the folder are scored again. `finished` is called with the row of
    each model that has been scored.

    Raises `UsageError` and `DataError` before anything is computed, as `plan_comparison`; for a folder with other
    files; and for one with models of other settings, which `overwrite` deletes.
    """
    plan = plan_comparison(settings, device)
    folder = ComparisonFolder(Path(output))
    folder.check()
    identities = {model.name: _identity(model, plan, device) for model in plan.models}
    if not overwrite:
        for model in plan.models:
            _check_identity(model.name, folder, identities[model.name])
    folder.prepare(overwrite)
    comparison = _Comparison(plan, folder, identities, device, progress)
    rows: dict[str, Row] = {}
    folder.write(plan, comparison.all_rows(rows))
    try:
        for model in () if score_only else plan.models:
            comparison.attempt(model, comparison.plan_steps, rows)
        for model in plan.models:
            if "error" in rows.get(model.name, {}):
                continue
            comparison.attempt(model, comparison.rescore if score_only else comparison.train_and_score, rows)
            written = comparison.all_rows(rows)
            folder.write(plan, written)
            if "error" not in rows.get(model.name, {}):
                finished(next(row for row in written if row["name"] == model.name))
    finally:
        complete = comparison.all_rows(rows)
        folder.write(plan, complete)
    return ComparisonResult(complete, folder.table, folder.json, folder.curves)


@dataclass
class _Comparison:
    plan: ComparisonPlan
    folder: ComparisonFolder
    identities: dict[str, dict[str, Any]]
    device: str
    progress: ProgressCallback

    def attempt(self, model: PlannedModel, task: Callable[[PlannedModel], None], rows: dict[str, Row]) -> None:
        """Run a task of a model, and set its row to the error if it fails."""
        try:
            task(model)
        except DataError as error:
            rows[model.name] = {"error": str(error)}

    def plan_steps(self, model: PlannedModel) -> None:
        """Measure the first steps of a training, plan their number, and store both; only once."""
        files = self.folder.model(model.name)
        if files.plan.exists():
            return
        files.path.mkdir(parents=True, exist_ok=True)
        measured = self._run(model, "measure", settings=_table(model), device=self.device, minutes=self._minutes)
        cost = StepCost(**measured)
        steps = self.plan.budget.steps or cost.steps_in(self.plan.budget.minutes)
        files.write_plan({**self.identities[model.name], "steps": steps, "cost": measured, "versions": versions()})

    def train_and_score(self, model: PlannedModel) -> None:
        """Continue the training of a model to its end, and score it; each unless it is done."""
        files = self.folder.model(model.name)
        plan = files.read_plan()
        budgeted = with_budget(model.settings, self.plan.budget, plan["steps"])
        if not files.is_trained():
            files.scores.unlink(missing_ok=True)
            settings = train_settings_table(budgeted)
            arguments = {"settings": settings, "device": self.device, "run": str(files.run)}
            trained = self._run(model, "train", resume=files.run_exists(), **arguments)
            if not trained["finished"]:
                raise DataError(f"interrupted after {trained['steps']} of {plan['steps']} steps; repeat the command")
            files.write_plan({**plan, "trained": True})
        if files.read_scores(self._scoring) is None:
            self._score(model, files)

    def rescore(self, model: PlannedModel) -> None:
        """Score the last model of a training, finished or not."""
        files = self.folder.model(model.name)
        if not files.last.exists():
            raise DataError("not trained")
        self._score(model, files)

    def _score(self, model: PlannedModel, files: ModelFolder) -> None:
        arguments = {"scoring": self._scoring, "device": self.device, "threads": self.plan.budget.threads}
        index = model.settings.data.index
        result = self._run(model, "score", model=str(files.last), index=index, **arguments)
        files.write_scores(self._scoring, result)

    def _run(self, model: PlannedModel, task: str, /, **arguments: Any) -> dict[str, Any]:
        def report(progress: Progress) -> None:
            self.progress(replace(progress, stage=f"{model.name}: {progress.stage}"))

        log = self.folder.model(model.name).log
        return run_task(task, log, report, self.plan.budget.threads, **arguments)

    def all_rows(self, rows: dict[str, Row]) -> list[Row]:
        """Return the row of every model, from its files, with its error if it failed."""
        return [
            {
                "name": model.name,
                "kind": model.kind,
                "parameters": model.size.parameters,
                **self.folder.model(model.name).row(self._scoring),
                **rows.get(model.name, {}),
            }
            for model in self.plan.models
        ]

    @property
    def _scoring(self) -> dict[str, Any]:
        return scoring_table(self.plan.scoring)

    @property
    def _minutes(self) -> float:
        return self.plan.budget.minutes or 1.0


def _table(model: PlannedModel) -> dict[str, Any]:
    return train_settings_table(model.settings)


def _identity(model: PlannedModel, plan: ComparisonPlan, device: str) -> dict[str, Any]:
    """Return, as plain tables, what must be the same for the results of a model to be kept."""
    settings = result_settings(model.settings)
    optimization = {name: value for name, value in settings["optimization"].items() if name not in NOT_PLANNED}
    settings = {**settings, "optimization": optimization}
    budget = {"minutes": plan.budget.minutes, "steps": plan.budget.steps, "threads": plan.budget.threads}
    return {"settings": settings, "budget": budget, "device": device}


def _check_identity(name: str, folder: ComparisonFolder, identity: dict[str, Any]) -> None:
    files = folder.model(name)
    if not files.plan.exists():
        return
    stored = files.read_plan()
    for part in identity:
        name_of_setting = part
        before, now = stored.get(part), identity[part]
        if isinstance(before, dict) and isinstance(now, dict) and (setting := difference(before, now)) is not None:
            name_of_setting, before, now = setting, value_at(before, setting), value_at(now, setting)
        if before == now:
            continue
        raise UsageError(
            f"model {name}: {name_of_setting}: {files.path} was computed with {before}, the configuration has {now}; "
            "change it back, delete that folder, or use --overwrite to delete all"
        )
