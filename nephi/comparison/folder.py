"""The folder of a comparison and the files in it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nephi.comparison.plan import ComparisonPlan
from nephi.comparison.table import comparison_json, comparison_markdown
from nephi.documents import read_json
from nephi.errors import DataError
from nephi.io import locked_file, replacing, write_text
from nephi.report.learning_curves import TrainingCurve, learning_curves
from nephi.training.folder import RunFolder

Row = dict[str, Any]
MODELS = "models"  # folder of the folders of the models
LOCK = ".lock"
COLUMNS = {"log": {"step", "seconds"}, "validation": {"step"}}  # in every row
RETRAIN = "delete its folder to train it again"


@dataclass(frozen=True)
class ModelFolder:
    """Paths of the files of one model."""

    path: Path

    @property
    def plan(self) -> Path:
        """The settings and the budget of the model, the cost of its first steps, and their planned number."""
        return self.path / "plan.json"

    @property
    def scores(self) -> Path:
        """The scores, and the settings with which they were computed."""
        return self.path / "scores.json"

    @property
    def run(self) -> Path:
        """The folder of the training."""
        return self.path / "run"

    @property
    def last(self) -> Path:
        """The model that is scored."""
        return RunFolder(self.run).last

    @property
    def log(self) -> Path:
        """What the processes of the model print."""
        return self.path / "log.txt"

    def run_exists(self) -> bool:
        """Return whether a training was started that can be continued."""
        return RunFolder(self.run).config.is_file()

    def is_trained(self) -> bool:
        """Return whether the training is finished, and its model still there."""
        return self.last.is_file() and self.read_plan().get("trained") is True

    def run_rows(self, table: str) -> list[dict[str, float]]:
        """Return the rows of `log` or `validation` of the training, without empty cells; none before it starts.

        A last line that an interruption cut off is left out: a training that continues writes it again. Raises
        `DataError` when the file is damaged.
        """
        path = self.run / f"{table}.csv"
        if not path.is_file():
            return []
        try:
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(whole)]
        except (ValueError, TypeError, csv.Error):  # no UTF-8, no numbers, or more cells than columns
            rows = [{}]
        if not all(row.keys() >= COLUMNS[table] for row in rows):
            raise DataError(f"{path}: expected rows of numbers, with {', '.join(sorted(COLUMNS[table]))}; {RETRAIN}")
        return rows

    def read_plan(self) -> dict[str, Any]:
        """Read the plan. Raises `DataError` when it is damaged."""
        plan: dict[str, Any] = read_json(self.plan, "the plan of a compared model")
        fits = isinstance(plan, dict) and type(plan.get("steps")) is int and plan["steps"] > 0
        if not fits or not isinstance(plan.get("cost"), dict) or not _is_number(plan["cost"].get("peak_mb")):
            raise DataError(f"{self.plan}: expected the plan of a compared model; {RETRAIN}")
        return plan

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Write the plan."""
        write_text(self.plan, json.dumps(plan, indent=2) + "\n")

    def read_scores(self, scoring: dict[str, Any]) -> dict[str, Any] | None:
        """Return the scores computed with these settings; None without any. Raises `DataError` for damaged ones."""
        if not self.scores.is_file():
            return None
        stored = read_json(self.scores, "the scores of a compared model")
        if not isinstance(stored, dict) or stored.get("scoring") != scoring:
            return None
        scores = stored.get("scores")
        if not isinstance(scores, dict) or not all(value is None or _is_number(value) for value in scores.values()):
            raise DataError(
                f"{self.scores}: expected the scores of a compared model; delete the file to score it again"
            )
        return scores

    def write_scores(self, scoring: dict[str, Any], result: dict[str, Any]) -> None:
        """Write the scores, and the measures of each pair as `pairs.csv`."""
        rows: list[Row] = result["pairs"]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path / "pairs.csv", text.getvalue())
        write_text(self.scores, json.dumps({"scoring": scoring, "scores": result["scores"]}, indent=2) + "\n")

    def row(self, scoring: dict[str, Any]) -> Row:
        """Return the steps, the cost and the scores that the files hold."""
        row: Row = {}
        if self.plan.is_file():
            row["training_step_mb"] = self.read_plan()["cost"]["peak_mb"]
        if log := self.run_rows("log"):
            row |= {"steps": int(log[-1]["step"]), "minutes": log[-1]["seconds"] / 60}
        return row | (self.read_scores(scoring) or {})


@dataclass(frozen=True)
class ComparisonFolder:
    """Paths of the files of a comparison."""

    path: Path

    @property
    def table(self) -> Path:
        """The table in Markdown."""
        return self.path / "comparison.md"

    @property
    def json(self) -> Path:
        """The rows of the table in JSON."""
        return self.path / "comparison.json"

    @property
    def curves(self) -> Path:
        """The figure of the learning curves."""
        return self.path / "curves.png"

    def model(self, name: str) -> ModelFolder:
        """Return the files of a model."""
        return ModelFolder(self.path / MODELS / name)

    def check(self) -> None:
        """Raise `DataError` for a path that is no folder, and for a folder with other files than a comparison."""
        if self.path.exists() and not self.path.is_dir():
            raise DataError(f"{self.path}: expected a folder for the comparison, got a file")
        if self.path.is_dir() and any(file.name != LOCK for file in self.path.iterdir()) and not self.json.is_file():
            raise DataError(f"{self.path}: expected an empty folder, or one with a comparison.json; choose another one")

    @contextmanager
    def locked(self) -> Iterator[tuple[int, ...]]:
        """Create the folder, lock it against other comparisons, and yield the descriptor of `locked_file`.

        Raises `DataError` for a folder in which another comparison runs, and for one that cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.path}: cannot write the comparison: {error.strerror}") from None
        problem = f"{self.path}: another comparison runs in this folder; wait for its end, or choose another folder"
        with locked_file(self.path / LOCK, problem) as lock:
            yield lock

    def prepare(self, overwrite: bool) -> None:
        """With `overwrite` delete the models in the folder."""
        try:
            if overwrite and (self.path / MODELS).is_dir():
                shutil.rmtree(self.path / MODELS)
        except OSError as error:
            raise DataError(f"{self.path}: cannot write the comparison: {error.strerror}") from None

    def write(self, plan: ComparisonPlan, rows: Sequence[Row]) -> None:
        """Write the table."""
        write_text(self.json, comparison_json(plan, rows))
        write_text(self.table, comparison_markdown(plan, rows))

    def draw(self, plan: ComparisonPlan) -> None:
        """Draw the learning curves of the trainings so far; nothing without any validation."""
        runs = {model.name: self.model(model.name) for model in plan.models}
        figure = learning_curves(
            {name: TrainingCurve(files.run_rows("log"), files.run_rows("validation")) for name, files in runs.items()}
        )
        if figure is not None:
            with replacing(self.curves) as temporary:
                figure.savefig(temporary, dpi=110)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
