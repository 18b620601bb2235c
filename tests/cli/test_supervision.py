"""`nephi predict` as a process: a crash affects one pair, and signals are forwarded."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nephi
from nephi.cli.supervision import Journal

from ..models.predictions import model

NEPHI = [sys.executable, "-m", "nephi.cli"]
# Executed at the start of every Python process: reading certain files crashes, as a bug in C code would.
CRASHES = """
import os, signal, sys, time
import nephi
original = nephi.read_image
def read_image(path, *arguments, **options):
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        if number.name in os.path.basename(path):
            target = os.getppid() if "parent" in os.path.basename(path) else os.getpid()
            os.kill(target, number)
            time.sleep(60) if target != os.getpid() else None
    return original(path, *arguments, **options)
nephi.read_image = read_image
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "m.safetensors"
    nephi.models.write_model(model("dense", 2, shape=(28, 28), spacing=(6.0, 6.0)), file)
    return file


def cohort(folder: Path, flat: Path, *names: str) -> Path:
    """A table of pairs whose moving images have these names."""
    lines = []
    for name in names:
        shutil.copy(flat / "moving.nii.gz", folder / f"{name}.nii.gz")
        lines.append(f"{name},{flat}/fixed.nii.gz,{name}.nii.gz")
    table = folder / "pairs.csv"
    table.write_text("\n".join(["name,fixed,moving", *lines, ""]), encoding="utf-8")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(CRASHES, encoding="utf-8")
    return table


def predict(path: Path, table: Path, *options: Any) -> subprocess.CompletedProcess[str]:
    out = ["-o", table.parent / "out", "--save", "transform,report", "--device", "cpu", *options]
    environment = {**os.environ, "PYTHONPATH": str(table.parent / "site")}
    command = [*NEPHI, "predict", *map(str, (path, table, *out))]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        cwd=table.parent,
        timeout=300,
    )


def summary(table: Path) -> dict[str, dict[str, str]]:
    with (table.parent / "out" / "summary.csv").open(encoding="utf-8") as file:
        return {row["pair"]: row for row in csv.DictReader(file)}


def test_crash_affects_one_pair(flat: Path, path: Path, tmp_path: Path) -> None:
    table = cohort(tmp_path, flat, "first", "SIGSEGV", "between", "SIGKILL", "last")
    completed = predict(path, table, "--overwrite")
    assert completed.returncode == 3, completed.stderr
    crashes = [
        f"the process crashed (signal {number}, {name}) while reading {tmp_path / name}.nii.gz"
        for name, number in (("SIGSEGV", 11), ("SIGKILL", 9))
    ]
    assert completed.stderr.splitlines() == [
        f"nephi: pair SIGSEGV: {crashes[0]}",
        f"nephi: pair SIGKILL: {crashes[1]}",
        f"nephi: error: 2 of 5 pairs failed, see {tmp_path / 'out' / 'summary.csv'}",
    ]
    rows = summary(table)
    assert list(rows) == ["first", "SIGSEGV", "between", "SIGKILL", "last"]
    assert [rows[name]["error"] for name in ("SIGSEGV", "SIGKILL")] == crashes
    assert rows["SIGSEGV"]["fixed"] == str(flat / "fixed.nii.gz")
    for name in ("first", "between", "last"):
        assert rows[name]["error"] == "" and float(rows[name]["seconds"]) > 0
        assert completed.stdout.count(f" {name}: ") == 1
        assert (tmp_path / "out" / name / "transform.nephi").is_file()
    assert "3 of 5" in completed.stdout


def test_results_match_those_of_one_process(flat: Path, path: Path, tmp_path: Path) -> None:
    from .conftest import invoke

    table = cohort(tmp_path, flat, "a", "b")
    assert predict(path, table, "--refine", 4).returncode == 0
    other = tmp_path / "other"
    invoke("predict", path, table, "-o", other, "--save", "transform,report", "--device", "cpu", "--refine", 4)
    for name in ("a", "b"):
        files = [folder / name / "transform.nephi" for folder in (tmp_path / "out", other)]
        points = nephi.read_image(flat / "fixed.nii.gz").grid.voxel_centres()
        one, two = (nephi.read_transform(file)(points) for file in files)
        assert (one - two).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("name", "code", "words"), [("SIGTERM", 143, "terminated by SIGTERM"), ("SIGINT", 130, "interr")]
)
def test_signals_terminate_the_command(
    name: str, code: int, words: str, flat: Path, path: Path, tmp_path: Path
) -> None:
    """Sent to the parent process; the summary lists the finished pairs."""
    table = cohort(tmp_path, flat, "first", f"parent-{name}", "last")
    completed = predict(path, table)
    assert completed.returncode == code
    assert completed.stderr.strip().startswith(f"nephi: {words}") and len(completed.stderr.strip().splitlines()) == 1
    assert list(summary(table)) == ["first"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["first", "summary.csv"]


def test_the_process_ends_with_the_command(flat: Path, path: Path, tmp_path: Path) -> None:
    """The subprocess terminates when its parent is killed, as nothing would forward Ctrl-C to it."""
    table = cohort(tmp_path, flat, "first", "parent-SIGKILL", "last")
    assert predict(path, table).returncode == -signal.SIGKILL  # returns when both processes have closed the pipes
    assert not (tmp_path / "out" / "last").exists()


def test_a_crash_before_the_first_pair(flat: Path, path: Path, tmp_path: Path) -> None:
    table = cohort(tmp_path, flat, "a")
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os, nephi\nnephi.read_model = lambda path: os.kill(os.getpid(), 11)\n", encoding="utf-8"
    )
    completed = predict(path, table)
    assert completed.returncode == 139
    assert completed.stderr == "nephi: error: the process crashed (signal 11, SIGSEGV)\n"


def test_usage_errors_are_passed_on(flat: Path, path: Path, tmp_path: Path) -> None:
    table = cohort(tmp_path, flat, "a")
    assert predict(path, table, "--frame", "x").returncode == 2
    assert predict(path, tmp_path / "none.csv").returncode == 3
    assert "Usage: nephi predict" in predict(path, table, "--help").stdout


def test_journal_records_steps_and_rows(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+b") as file:
        journal = Journal(file.fileno())
        assert journal.rows() == {} and journal.unfinished() is None
        journal.begin({"pair": "\udcff"}, "reading \ud800")
        assert journal.unfinished() == ({"pair": "\udcff"}, "reading \ud800")
        journal.finish({"pair": "\udcff", "tre_mm": 1.5})
        assert journal.rows() == {"\udcff": {"pair": "\udcff", "tre_mm": 1.5}} and journal.unfinished() is None
    nothing = Journal(None)
    nothing.begin({}, "x")
    assert nothing.rows() == {}
