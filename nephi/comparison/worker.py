"""A task of a comparison in a process of its own, so that its memory and its threads are those of one model.

The process reads a task as JSON from standard input and writes events to standard output, one JSON line each: progress,
then the result or an error. `nephi.comparison.process` starts it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from nephi.comparison.costs import measure_step_cost
from nephi.comparison.scoring import score_model
from nephi.comparison.settings import ScoringSettings
from nephi.datasets import read_dataset_index
from nephi.errors import NephiError, is_out_of_memory
from nephi.models import read_model
from nephi.optimize import Progress
from nephi.runtime import choose_device, cpu_threads
from nephi.training.run import train
from nephi.training.settings_file import train_settings

Report = Callable[[Progress], None]


def main() -> None:
    """Run the task on standard input; libraries that print do so on standard error."""
    events = _Events(os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1))
    os.dup2(2, 1)
    task = json.load(sys.stdin)
    try:
        events.send("result", TASKS[task.pop("task")](**task, report=events.report))
    except NephiError as error:
        events.send("error", str(error))
    except Exception as error:  # a bug, or a lack of memory: it costs this model, not the others
        if is_out_of_memory(error):
            events.send("error", "not enough memory")
            return
        traceback.print_exc()
        events.send("error", f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:500]}")


class _Events:
    """The events that this process writes; if nobody reads them any more, it ends as by SIGTERM."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_read = True

    def send(self, kind: str, content: Any) -> None:
        if not self._is_read:
            return
        try:
            self._stream.write(json.dumps([kind, content]) + "\n")
        except BrokenPipeError:  # the starting process has ended, or is about to end this one
            self._is_read = False
            signal.raise_signal(signal.SIGTERM)

    def report(self, progress: Progress) -> None:
        self.send("progress", asdict(progress))


def _measure(settings: Mapping[str, Any], device: str, minutes: float, report: Report) -> dict[str, Any]:
    return asdict(measure_step_cost(train_settings(settings), device, minutes))


def _train(settings: Mapping[str, Any], device: str, run: str, resume: bool, report: Report) -> dict[str, Any]:
    result = train(train_settings(settings), run, resume=resume, device=device, progress=report)
    return {"steps": result.steps, "finished": result.finished}


def _score(
    model: str, index: str, scoring: Mapping[str, Any], device: str, threads: int, report: Report
) -> dict[str, Any]:
    with cpu_threads(threads):
        data = read_dataset_index(Path(index))
        scores, rows = score_model(read_model(model), data, ScoringSettings(**scoring), choose_device(device), report)
    return {"scores": scores, "pairs": rows}


TASKS: dict[str, Callable[..., dict[str, Any]]] = {"measure": _measure, "train": _train, "score": _score}
