"""Run a command as a process of its own and measure what it costs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """CPU seconds (user + system, all threads), wall seconds, peak resident memory in MB, exit code, output."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    code: int
    output: str


def measured(command: Sequence[str | Path], log: Path) -> Cost:
    """Run `command`, its output going to `log`; return what the process (children included) took."""
    start = time.perf_counter()
    with log.open("wb") as handle:
        process = subprocess.Popen([str(c) for c in command], stdout=handle, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(
        cpu_s=usage.ru_utime + usage.ru_stime,
        wall_s=time.perf_counter() - start,
        peak_mb=usage.ru_maxrss * 1024 / 1e6,
        code=process.returncode,
        output=log.read_text(encoding="utf-8", errors="replace"),
    )
