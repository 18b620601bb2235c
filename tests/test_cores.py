"""The number of cores by affinity, shared cores and quotas of control groups, in made folders of Linux."""

import os
from pathlib import Path

import pytest

from nephi import cores


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a system of four logical processors on two cores, all of which the process may use, without a quota."""
    for processor, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        write(tmp_path / f"cpu{processor}/topology/thread_siblings_list", siblings)
    monkeypatch.setattr(cores, "TOPOLOGY", tmp_path)
    monkeypatch.setattr(cores, "CONTROL_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="ascii")


def test_processors_of_one_core_count_once(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores.available_cores() == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2})
    assert cores.available_cores() == 1


def test_without_topology_each_processor_counts(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "TOPOLOGY", system / "missing")
    assert cores.available_cores() == 4
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores.available_cores() == os.cpu_count()


@pytest.mark.parametrize(("quota", "expected"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 2)])
def test_the_quota_of_a_containing_group_counts(system: Path, quota: str, expected: int) -> None:
    write(system / "membership", "0::/batch/job")
    write(system / "cgroup/batch/job/cpu.max", "max 100000")
    write(system / "cgroup/batch/cpu.max", quota)
    assert cores.available_cores() == expected


@pytest.mark.parametrize(("quota", "expected"), [("100000", 1), ("-1", 2)])
def test_quotas_of_version_1(system: Path, quota: str, expected: int) -> None:
    write(system / "membership", "4:memory:/\n3:cpu,cpuacct:/job")
    write(system / "cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", quota)
    write(system / "cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000")
    assert cores.available_cores() == expected
