"""Signals: files and exit codes of a killed command."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import nephi

from .conftest import Call, pair_options

# Sends a signal to itself when a function of the public API is called: `python -c SCRIPT NAME SIGNAL register ...`.
SCRIPT = """
import os, sys
import nephi
from nephi.cli.process import run
name, number = sys.argv[1], int(sys.argv[2])
sys.argv[1:] = sys.argv[3:]
room, _, function = name.rpartition(".")
owner = getattr(nephi, room) if room else nephi
original = getattr(owner, function)
def killed(*arguments, **options):
    os.kill(os.getpid(), number)
    return original(*arguments, **options)
setattr(owner, function, killed)
run()
"""
FILES = {*nephi.results.OUTPUTS.values(), "report.html"}


def kill_at(name: str, number: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, name, str(int(number)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGTERM, 143, "terminated by SIGTERM"),
        (signal.SIGHUP, 129, "terminated by SIGHUP"),
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGKILL, -signal.SIGKILL, ""),
    ],
)
def test_killed_between_results_and_page(
    number: int, code: int, words: str, succeed: Call, flat: Path, tmp_path: Path
) -> None:
    """Earlier results stay complete; temporary files left by SIGKILL are removed by the next run."""
    out = tmp_path / "out"
    options = ["register", *pair_options(flat), "-o", out, "--config", flat / "brief.toml", "-q"]
    succeed(*options)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(before) == FILES
    completed = kill_at("report.page_html", number, *options, "--overwrite", "--seed", "5")
    assert completed.returncode == code
    expected = f"nephi: {words}; incomplete files were not written"
    assert completed.stderr.strip() == (expected if words else "")
    left = [path for path in out.iterdir() if path.name not in FILES]
    assert {path.name: path.read_bytes() for path in out.iterdir() if path not in left} == before
    assert bool(left) == (number == signal.SIGKILL)
    succeed(*options, "--overwrite", "--seed", "5")
    assert {path.name for path in out.iterdir()} == FILES
    assert json.loads((out / "report.json").read_text(encoding="utf-8"))["seed"] == 5


def test_killed_before_the_first_results(call: Call, flat: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    options = ["register", *pair_options(flat), "-o", out, "--config", flat / "brief.toml", "-q"]
    assert kill_at("report.page_html", signal.SIGTERM, *options).returncode == 143
    assert list(tmp_path.iterdir()) == []
    assert kill_at("report.page_html", signal.SIGKILL, *options).returncode == -signal.SIGKILL
    assert not out.exists()
    assert call(*options).code == 0  # without --overwrite: the killed run left nothing in the folder
    assert {path.name for path in out.iterdir()} == FILES and [p.name for p in out.parent.iterdir()] == ["out"]


def test_ignored_signal_stays_ignored(flat: Path, tmp_path: Path) -> None:
    """Required by `nohup`."""
    options = ["register", *pair_options(flat), "-o", tmp_path / "out", "--config", flat / "brief.toml", "-q"]
    script = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{SCRIPT}"
    command = [sys.executable, "-c", script, "report.page_html", str(int(signal.SIGHUP)), *map(str, options)]
    assert subprocess.run(command).returncode == 0
    assert os.listdir(tmp_path / "out")


def test_apply_killed_while_writing(flat: Path, brief_result: Path, tmp_path: Path) -> None:
    """A writer that computes while it writes; an earlier file stays."""
    out = tmp_path / "warped.nii.gz"
    out.write_bytes(b"old")
    script = SCRIPT.replace("getattr(owner, function)", "open_output").replace(
        "setattr(owner, function, killed)", "import nephi.io.nifti.writer as nifti; nifti.open_output = killed"
    )
    script = "from nephi.io.files.gzipped import open_output\n" + script
    files = ["-i", flat / "moving.nii.gz", "-r", flat / "fixed.nii.gz", "-o", out]
    options = ["apply", "-t", brief_result / "transform.nephi", *files]
    for number, code in ((signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
        command = [sys.executable, "-c", script, "open_output", str(int(number)), *map(str, options)]
        assert subprocess.run(command, capture_output=True).returncode == code
        assert out.read_bytes() == b"old"
        assert len(os.listdir(tmp_path)) == (2 if number == signal.SIGKILL else 1)
    assert subprocess.run([sys.executable, "-m", "nephi.cli", *map(str, options)]).returncode == 0
    assert os.listdir(tmp_path) == ["warped.nii.gz"]
