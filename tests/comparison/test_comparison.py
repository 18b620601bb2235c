"""Comparisons from data to table: tasks in this process, one of them in a process of its own, and interruptions."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import nephi
from nephi.comparison import ComparisonSettings, compare_models, read_comparison_settings
from nephi.comparison import run as run_module
from nephi.comparison.costs import StepCost
from nephi.comparison.process import run_task
from nephi.comparison.worker import TASKS
from nephi.errors import DataError, NephiError, UsageError
from nephi.io import locked_file
from nephi.runtime import Progress
from nephi.training import train
from nephi.training.checkpoint import read_state
from nephi.training.settings_file import train_settings_table

pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric: pip install nephi[train]")
pytest.importorskip("tensorboard", reason="training needs TensorBoard: pip install nephi[train]")

Calls = list[tuple[str, str]]


@pytest.fixture
def settings(folder: Path) -> ComparisonSettings:
    return read_comparison_settings(folder / "config.toml")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Run the tasks in this process; return the list of the models and tasks that run."""
    calls: Calls = []

    def run_here(
        task: str,
        log: Path,
        progress: Callable[[Progress], None],
        threads: int,
        lock: tuple[int, ...],
        /,
        **arguments: Any,
    ) -> Any:
        calls.append((log.parent.name, task))
        try:
            result = TASKS[task](**json.loads(json.dumps(arguments)), report=progress)
        except NephiError as error:
            raise DataError(str(error)) from None
        return json.loads(json.dumps(result))

    monkeypatch.setattr(run_module, "run_task", run_here)
    return calls


def test_table_json_and_curves_hold_every_model(settings: ComparisonSettings, calls: Calls, tmp_path: Path) -> None:
    finished: list[str] = []
    stages: set[str] = set()
    result = compare_models(
        settings,
        tmp_path / "out",
        device="cpu",
        progress=lambda p: stages.add(p.stage),
        finished=lambda row: finished.append(row["name"]),
    )
    assert finished == [row["name"] for row in result.rows] == ["fields", "table"]
    assert not result.failed and stages >= {"fields: train", "table: score"}
    for row in result.rows:
        assert row["steps"] == 6 and row["pairs"] == 3 and row["minutes"] > 0
        assert 0 < row["dice_worst_percent"] <= row["dice"] <= 1
        assert row["folding_percent"] == 0 and 0 < row["smallest"] < 1.5
        assert 0 <= row["inverse_error_mm"] <= row["inverse_error_max_mm"]
        assert row["prediction_cpu_s"] > 0 and row["training_step_mb"] >= 0
    model = nephi.read_model(tmp_path / "out" / "models" / "table" / "run" / "last.safetensors").model
    assert result.rows[1]["parameters"] == sum(p.numel() for p in model.parameters())
    assert json.loads(result.json.read_text(encoding="utf-8"))["rows"] == result.rows
    lines = [line for line in result.table.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    first_cells = ["| model", "|---" * lines[0].count(" |") + "|", "| before", "| fields", "| table"]
    assert [line.split(" | ")[0] for line in lines] == first_cells
    assert result.curves.read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "out" / "models" / "table" / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert result.rows[1]["dice"] == pytest.approx(sum(float(row["dice"]) for row in rows) / 3)


def test_finished_models_are_kept(settings: ComparisonSettings, calls: Calls, tmp_path: Path) -> None:
    first = compare_models(settings, tmp_path, device="cpu").rows
    calls.clear()
    assert compare_models(settings, tmp_path, device="cpu").rows == first and calls == []
    fewer = replace(settings, scoring=replace(settings.scoring, pairs=1))
    assert [row["pairs"] for row in compare_models(fewer, tmp_path, device="cpu").rows] == [1, 1]
    assert calls == [("fields", "score"), ("table", "score")]
    compare_models(fewer, tmp_path, device="cpu", score_only=True)
    assert calls == 2 * [("fields", "score"), ("table", "score")]
    other = replace(
        settings.models[1].settings, optimization=replace(settings.models[1].settings.optimization, rate=1.0)
    )
    changed = replace(settings, models=(settings.models[0], replace(settings.models[1], settings=other)))
    with pytest.raises(UsageError, match=r"model table: optimization.rate: .* was computed with 0.002, .* has 1.0"):
        compare_models(changed, tmp_path, device="cpu")
    with pytest.raises(UsageError, match=r"model fields: budget.steps: .* with 6, the configuration has 7"):
        compare_models(replace(settings, budget=replace(settings.budget, steps=7)), tmp_path, device="cpu")


def test_damaged_files_of_a_comparison_are_named(settings: ComparisonSettings, calls: Calls, tmp_path: Path) -> None:
    only = replace(settings, models=settings.models[1:])
    compare_models(only, tmp_path, device="cpu")
    files = tmp_path / "models" / "table"
    plan, scores = (json.loads((files / f"{name}.json").read_text(encoding="utf-8")) for name in ("plan", "scores"))
    for name, content in (
        ("plan.json", json.dumps({key: value for key, value in plan.items() if key != "cost"})),
        ("plan.json", json.dumps({**plan, "cost": 5})),
        ("scores.json", json.dumps({"scoring": scores["scoring"]})),
        ("scores.json", json.dumps({**scores, "scores": {"dice": "high"}})),
        ("run/log.csv", "step,loss\n2,abc\n"),
        ("run/log.csv", "step,loss\n2,0.5\n"),
        ("run/log.csv", "step,seconds\n2,0.5,7,8\n"),
        ("run/validation.csv", "\0\n\0\n"),
    ):
        before = (files / name).read_bytes()
        (files / name).write_text(content)
        with pytest.raises(DataError, match=f"{name}: expected .*; delete"):
            compare_models(only, tmp_path, device="cpu")
        (files / name).write_bytes(before)
    log = files / "run" / "log.csv"
    log.write_bytes(log.read_bytes()[:-20])  # as a full disk leaves it
    calls.clear()
    assert compare_models(only, tmp_path, device="cpu").rows[0]["steps"] == 4
    assert not calls


def test_a_failing_model_is_a_row_with_its_error(settings: ComparisonSettings, calls: Calls, tmp_path: Path) -> None:
    fields = settings.models[0]
    optimization = replace(fields.settings.optimization, rate=1e14, clip=0.0)
    bad = replace(fields, name="bad", settings=replace(fields.settings, optimization=optimization))
    result = compare_models(replace(settings, models=(bad, settings.models[1])), tmp_path, device="cpu")
    assert [row["name"] for row in result.failed] == ["bad"] and "expected a finite loss" in result.rows[0]["error"]
    assert result.rows[1]["dice"] > 0
    assert "bad failed: step" in result.table.read_text(encoding="utf-8")
    assert ("bad", "train") not in calls  # its first steps are measured before


def test_foreign_folders_are_left_alone(settings: ComparisonSettings, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="expected an empty folder"):
            compare_models(settings, tmp_path, device="cpu", overwrite=overwrite)
    with pytest.raises(DataError, match="expected a folder for the comparison, got a file"):
        compare_models(settings, tmp_path / "letter.txt", device="cpu")


def test_one_comparison_runs_in_a_folder(
    settings: ComparisonSettings, calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one ends before it writes or deletes anything; the lock ends with the first one, whatever happened."""
    message = f"^{tmp_path}: another comparison runs in this folder; wait for its end, or choose another folder$"
    run_first = run_module.run_task

    def run_second_inside(*positional: Any, **arguments: Any) -> Any:
        files = sorted(tmp_path.rglob("*"))
        with pytest.raises(DataError, match=message):
            compare_models(settings, tmp_path, device="cpu", overwrite=True)
        assert sorted(tmp_path.rglob("*")) == files
        (lock,) = positional[4]
        assert os.path.samestat(os.fstat(lock), (tmp_path / ".lock").stat())
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "run_task", run_second_inside)
    with pytest.raises(KeyboardInterrupt):
        compare_models(settings, tmp_path, device="cpu")
    monkeypatch.setattr(run_module, "run_task", run_first)
    (tmp_path / "comparison.json").unlink()
    (tmp_path / "comparison.md").unlink()
    (tmp_path / "models" / "fields").rmdir()
    (tmp_path / "models").rmdir()  # only the lock is left: an empty folder
    compare_models(settings, tmp_path, device="cpu", score_only=True)
    assert not calls


@pytest.mark.skipif(os.name != "posix", reason="locks of files are those of POSIX systems")
def test_the_lock_lasts_until_the_process_of_the_task_has_ended(tmp_path: Path) -> None:
    with locked_file(tmp_path / "lock", "locked") as lock:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=lock)
    try:
        with pytest.raises(DataError, match=r"^locked$"), locked_file(tmp_path / "lock", "locked"):
            pass
    finally:
        child.communicate(b"\n")
    with locked_file(tmp_path / "lock", "locked"):
        pass


def test_steps_are_planned_from_their_duration() -> None:
    assert StepCost(0.5, 0.0, 1.0).steps_in(1.0) == 120
    assert StepCost(0.5, 15.0, 1.0).steps_in(1.0) == 90  # of which the first ones read the images
    assert StepCost(100.0, 0.0, None).steps_in(1.0) == 1


def test_an_interrupted_training_continues_to_the_same_weights(settings: ComparisonSettings, tmp_path: Path) -> None:
    """A process of its own is ended by an interruption of this one; its state is saved and resumed."""
    model = settings.models[1].settings
    optimization = replace(model.optimization, steps=8, threads=1, workers=0, validation_interval=8)
    model = replace(model, optimization=optimization)
    whole = train(model, tmp_path / "whole", device="cpu")

    def interrupt(progress: Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    arguments = {"settings": train_settings_table(model), "device": "cpu", "run": str(tmp_path / "run")}
    with pytest.raises(KeyboardInterrupt):
        run_task("train", tmp_path / "log.txt", interrupt, 1, **arguments, resume=False)
    assert read_state(tmp_path / "run" / "state.safetensors").counters.step >= 2
    train(model, tmp_path / "run", device="cpu", resume=True)
    one, other = (nephi.read_model(path).model.state_dict() for path in (whole.last, tmp_path / "run/last.safetensors"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_errors_of_a_process_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unexpected KeyError: 'fly'"):
        run_task("fly", tmp_path / "log.txt", lambda _: None, 1)
    assert "Traceback" in (tmp_path / "log.txt").read_text(encoding="utf-8")
