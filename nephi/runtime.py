"""Run time environment: device, threads, versions, progress, time and memory."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from nephi.cores import available_cores
from nephi.errors import UsageError, warn
from nephi.kernels import built_for, kernel_threads

MOST_USEFUL_THREADS = 8
"""The default number of threads is at most this: a step of a fit has no more than a dozen blocks of work."""


def choose_device(name: str) -> torch.device:
    """Return the device named `auto` (a GPU if available, else the CPU), `cpu` or `cuda[:N]`.

    Raises `UsageError` for another name, or a GPU that does not exist.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()) or (kind == "cpu" and number):
        raise UsageError(f"device: expected auto, cpu, cuda or cuda:N, got {name!r}")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name!r} does not exist: found {torch.cuda.device_count()} CUDA devices; use --device cpu"
        )
    return torch.device(name)


def device_summary() -> str:
    """Describe the device that `auto` selects: the name of a GPU, or the number of cores and the kernels of the CPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    kind = built_for()
    kernels = f"compiled kernels for {kind}" if kind else "no compiled kernels: reinstall nephi with a compiler"
    return f"cpu, {available_cores()} cores, {kernels}"


def seeded_generator(seed: int) -> torch.Generator:
    """Return a generator of random numbers; raise `UsageError` for a seed that torch does not take."""
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed: expected a whole number from 0 to 2^63 - 1, got {seed}")
    return torch.Generator().manual_seed(int(seed))


def registration_threads(count: int) -> int:
    """Return the number of CPU threads of a registration: `count`, for 0 all physical cores, but at most 8."""
    return count or min(available_cores(), MOST_USEFUL_THREADS)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch's CPU threads inside the `with` block."""
    previous = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(previous)


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Set the number of torch's CPU threads (0: one per physical core), and thereby of kernels, in the `with` block."""
    with torch_threads(count or available_cores()):
        yield


@contextmanager
def fit_threads(count: int) -> Iterator[None]:
    """Let kernels use `registration_threads(count)` threads inside the `with` block, and torch one.

    Results are then the same bytes for any number of threads, which sums by torch are not; and what a fit computes in
    torch is too little for several threads: with two it took 28 % more CPU time, and no less time by the clock.
    """
    with torch_threads(1), kernel_threads(registration_threads(count)):
        yield


@contextmanager
def caller_threads() -> Iterator[None]:
    """Let kernels use as many threads as torch has in the calling program, at most 8, and torch one, inside the block.

    For public functions without settings. torch's own threads spin while they wait for each other: on two cores,
    resampling a lung phantom with two of them took twice as long beside one busy process as alone (63 and 31 ms), with
    one thread 44 ms in both cases. Commands let them sleep (`OMP_WAIT_POLICY`), which a library cannot: the variable is
    read when torch is imported. The calling program's number is restored at the end.
    """
    count = min(torch.get_num_threads(), MOST_USEFUL_THREADS)
    with torch_threads(1), kernel_threads(count):
        yield


def versions() -> dict[str, str]:
    """Return the versions of the packages and of Python that a result depends on.

    Issues a `DataWarning` for a clone that is used without installation, which has no compiled kernels.
    """
    from importlib import metadata

    packages = {name: metadata.version(name) for name in ("torch", "numpy")}
    try:
        own = metadata.version("nephi")
    except metadata.PackageNotFoundError:
        own, folder = "not installed", Path(__file__).parents[1]
        if built_for() is None:
            warn(f"nephi: {folder} is not installed, and slow without kernels: run python -m pip install -e {folder}")
    return {"nephi": own, **packages, "python": platform.python_version()}


@dataclass(frozen=True)
class Progress:
    """State of a running fit or training: name of the stage, steps done and planned in all stages, the latest loss."""

    stage: str
    step: int
    total: int
    loss: float


ProgressCallback = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Do nothing: the default `ProgressCallback`."""


@dataclass
class Usage:
    """Wall and CPU seconds (user + system, all threads) of each stage, and the number of threads."""

    threads: int = 1
    stages: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the time spent inside the `with` block."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.stages[name] = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def peak_memory_mb() -> float | None:
    """Return the peak resident memory of the process in MB (10^6 bytes), None on systems that do not report it."""
    if (peak := _linux_peak_kb()) is not None:
        return peak * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _linux_peak_kb() -> int | None:
    """Return the peak of this program in kB as Linux reports it; that of `getrusage` includes the starting process."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("VmHWM:")), None)
    except OSError:
        return None


def peak_gpu_memory_mb(device: torch.device) -> float | None:
    """Return the peak GPU memory allocated by torch in MB (10^6 bytes), None on the CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
