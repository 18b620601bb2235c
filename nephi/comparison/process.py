"""Start a task of a comparison in a process of its own and wait for its result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nephi.cores import available_cores
from nephi.errors import DataError
from nephi.optimize import Progress, ProgressCallback

# -P and the same path: modules are imported from the same places as in this process, not from the working folder.
PROGRAM = "import sys; sys.path[:] = {path!r}; from nephi.comparison.worker import main; main()"
OWN_GROUP = 0 if os.name == "posix" else None  # Ctrl-C reaches only this process, which ends the other one


def run_task(
    task: str, log: Path, progress: ProgressCallback, threads: int, lock: Sequence[int] = (), /, **arguments: Any
) -> dict[str, Any]:
    """Run a task of `nephi.comparison.worker` in a process of its own and return its result.

    `progress` is called as the task reports; what the process prints is appended to the file `log`. An interruption of
    this process ends the task first, which a training does by saving its state. The process shares the descriptors
    `lock` of a locked file: the lock lasts until it has ended, even if this process was killed.

    Raises `DataError` with the task's error, and when its process crashes.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads or available_cores())}
    command = [sys.executable, "-P", "-c", PROGRAM.format(path=sys.path)]
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            env=environment,
            text=True,
            encoding="utf-8",
            process_group=OWN_GROUP,
            pass_fds=lock,
        )
        try:
            outcome = _outcome(process, {"task": task, **arguments}, progress)
            process.wait()
        except BaseException:
            _terminate(process)
            raise
    if outcome is None:
        raise DataError(f"the process of the task {task!r} {_ending(process.returncode)}, see {log}")
    kind, content = outcome
    if kind == "error":
        raise DataError(content)
    result: dict[str, Any] = content
    return result


def _outcome(process: subprocess.Popen[str], task: dict[str, Any], progress: ProgressCallback) -> Any:
    """Send the task, report its progress, and return its last event; None for a process without result or error."""
    assert process.stdin is not None and process.stdout is not None
    with process.stdin as stream:
        json.dump(task, stream)
    outcome = None
    with process.stdout as events:
        for line in events:
            kind, content = json.loads(line)
            if kind == "progress":
                progress(Progress(**content))
            else:
                outcome = kind, content
    return outcome


def _terminate(process: subprocess.Popen[str]) -> None:
    """End a process by SIGTERM, after which a training saves its state; a further interruption kills it."""
    process.terminate()
    try:
        process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise


def _ending(code: int) -> str:
    if code >= 0:
        return f"failed with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"crashed (signal {-code}, {name})"
