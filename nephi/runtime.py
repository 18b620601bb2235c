"""What a run is computed with, and what it costs: device, threads, versions, seconds, memory."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from nephi.errors import UsageError
from nephi.kernels import built_for


def choose_device(name: str) -> torch.device:
    """Return the device called `auto` (a GPU when there is one), `cpu` or `cuda[:N]`.

    Raises `UsageError` for another name, or a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()) or (kind == "cpu" and number):
        raise UsageError(f"unknown device {name!r}: expected auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name!r} is not there: found {torch.cuda.device_count()} CUDA devices; use --device cpu"
        )
    return torch.device(name)


def device_summary() -> str:
    """Return what `auto` would compute on, in words: a GPU by its name, or the processor and which kernels serve."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    kind = built_for()
    kernels = f"compiled kernels for {kind}" if kind else "no compiled kernels: install nephi again, with a compiler"
    return f"cpu, {os.cpu_count()} cores, {kernels}"


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use `count` CPU threads (0: one for each core) inside the `with` block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    from importlib import metadata

    found = {name: metadata.version(name) for name in ("nephi", "torch", "numpy")}
    return {**found, "python": platform.python_version()}


@dataclass
class Usage:
    """Seconds of each stage, wall and CPU (user + system, all threads)."""

    stages: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what happens inside the `with` block."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.stages[name] = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def peak_memory_mb() -> float | None:
    """Return the process's largest resident memory so far in MB (10^6 bytes), None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def peak_gpu_memory_mb(device: torch.device) -> float | None:
    """Return the most GPU memory that torch has held so far in MB (10^6 bytes), None on the CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
