"""Train and score the models of a comparison, one after the other, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nephi.comparison.costs import StepCost
from nephi.comparison.folder import ComparisonFolder, ModelFolder
from nephi.comparison.identity import check_identity, model_identity
from nephi.comparison.plan import ComparisonPlan, PlannedModel, plan_comparison, with_budget
from nephi.comparison.process import run_task
from nephi.comparison.settings import ComparisonSettings, scoring_table
from nephi.errors import DataError
from nephi.optimize import Progress, ProgressCallback, ignore_progress
from nephi.runtime import versions
from nephi.training.settings_file import train_settings_table

Row = dict[str, Any]


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
    files or in which another comparison runs; and for one with models of other settings, which `overwrite` deletes.
    """
    plan = plan_comparison(settings, device)
    folder = ComparisonFolder(Path(output))
    folder.check()
    with folder.locked() as lock:
        identities = {model.name: model_identity(model, plan.budget, device) for model in plan.models}
        for model in plan.models if not overwrite else ():
            check_identity(model.name, folder.model(model.name), identities[model.name])
        folder.prepare(overwrite)
        comparison = _Comparison(plan, folder, identities, device, progress, lock)
        try:
            comparison.run(score_only, finished)
        finally:
            rows = comparison.write()
            folder.draw(plan)
    return ComparisonResult(rows, folder.table, folder.json, folder.curves)


@dataclass
class _Comparison:
    plan: ComparisonPlan
    folder: ComparisonFolder
    identities: dict[str, dict[str, Any]]
    device: str
    progress: ProgressCallback
    lock: tuple[int, ...]
    errors: dict[str, str] = field(default_factory=dict)

    def run(self, score_only: bool, finished: Callable[[Row], None]) -> None:
        """Plan, train and score all models, or only score them, and write the table after each of them."""
        self.write()
        for model in self.plan.models if not score_only else ():
            self.attempt(model, self.plan_steps)
        for model in self.plan.models:
            if self.attempt(model, self.rescore if score_only else self.train_and_score):
                finished(self.write()[self.plan.models.index(model)])

    def attempt(self, model: PlannedModel, task: Callable[[PlannedModel], None]) -> bool:
        """Run a task of a model unless an earlier one failed, keep its error, and return whether it succeeded."""
        if model.name not in self.errors:
            try:
                task(model)
            except DataError as error:
                self.errors[model.name] = str(error)
        return model.name not in self.errors

    def plan_steps(self, model: PlannedModel) -> None:
        """Measure the first steps of a training, plan their number, and store both; only once."""
        files = self.folder.model(model.name)
        if files.plan.exists():
            return
        files.path.mkdir(parents=True, exist_ok=True)
        settings, minutes = train_settings_table(model.settings), self.plan.budget.minutes or 1.0
        measured = self._run(model, "measure", settings=settings, device=self.device, minutes=minutes)
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
            self.folder.draw(self.plan)
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
        return run_task(task, log, report, self.plan.budget.threads, self.lock, **arguments)

    def write(self) -> list[Row]:
        """Write the table of what the files of the models hold, and return its rows."""
        rows = [self._row(model) for model in self.plan.models]
        self.folder.write(self.plan, rows)
        return rows

    def _row(self, model: PlannedModel) -> Row:
        row: Row = {"name": model.name, "kind": model.kind, "parameters": model.size.parameters}
        row |= self.folder.model(model.name).row(self._scoring)
        return row if model.name not in self.errors else {**row, "error": self.errors[model.name]}

    @property
    def _scoring(self) -> dict[str, Any]:
        return scoring_table(self.plan.scoring)
