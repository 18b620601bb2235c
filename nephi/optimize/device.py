"""Where and with how many threads a fit runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

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
