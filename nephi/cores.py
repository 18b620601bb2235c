"""The number of CPU cores that this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

TOPOLOGY = Path("/sys/devices/system/cpu")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Return the number of physical cores that this process may use, at least 1.

    Limits are the affinity of the process (`taskset`, batch systems) and the quota of its control group (containers),
    rounded up. Where the system does not report which logical processors share a core, each counts as one.
    """
    processors = _allowed_processors()
    cores = len({_siblings(processor) for processor in processors}) or os.cpu_count() or 1
    quota = _quota(_group_folders())
    return max(1, cores if quota is None else min(cores, -int(-quota // 1)))


def _allowed_processors() -> Iterable[int]:
    """Return the numbers of the logical processors on which the process may run."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def _siblings(processor: int) -> str:
    """Return the logical processors of one core, as text; the processor alone where that is unknown."""
    text = _read(TOPOLOGY / f"cpu{processor}" / "topology" / "thread_siblings_list")
    return text or str(processor)


def _group_folders() -> Iterable[Path]:
    """Return the folders of the process's control group and of those that contain it."""
    for line in _read(MEMBERSHIP).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CONTROL_GROUPS / controllers if controllers else CONTROL_GROUPS
        folder = root / group.lstrip("/")
        yield from (folder, *(parent for parent in folder.parents if parent.is_relative_to(root)))


def _quota(folders: Iterable[Path]) -> float | None:
    """Return the smallest number of cores to which a control group is limited (versions 2 and 1); None: no limit."""
    limits = []
    for folder in folders:
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):  # not "max" (version 2) or "-1" (version 1)
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
