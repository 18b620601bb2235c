"""Run a command as a separate process and measure its cost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """CPU seconds (user + system, all threads), wall seconds, peak resident memory in MB, exit code, output.

    `timed_out`: the process was killed at its time limit; the cost is that until then.
    """

    cpu_s: float
    wall_s: float
    peak_mb: float
    code: int
    output: str
    timed_out: bool = False


def measure_command(
    command: Sequence[str | Path], log: Path, limit_s: float | None = None, env: Mapping[str, str] | None = None
) -> Cost:
    """Run `command` with its output in `log`; return the cost of the process and its children.

    The peak memory includes the size of the calling process at the start, so call this from a small process. After
    `limit_s` seconds the command and its children are killed. `env` is added to the environment.
    """
    start = time.perf_counter()
    expired = threading.Event()
    with log.open("wb") as handle:
        process = subprocess.Popen(
            [str(c) for c in command],
            stdout=handle,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        timer = threading.Timer(limit_s or 0, _kill, (process.pid, expired))
        if limit_s is not None:
            timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            _kill(process.pid, expired)
            raise
        finally:
            timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(
        cpu_s=usage.ru_utime + usage.ru_stime,
        wall_s=time.perf_counter() - start,
        peak_mb=usage.ru_maxrss * 1024 / 1e6,
        code=process.returncode,
        output=log.read_text(encoding="utf-8", errors="replace"),
        timed_out=expired.is_set(),
    )


def _kill(group: int, expired: threading.Event) -> None:
    expired.set()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
