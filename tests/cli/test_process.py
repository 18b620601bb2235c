"""The command as a process: exit codes, pipes and terminals."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import pair_options

NEPHI = [sys.executable, "-m", "nephi.cli"]


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NEPHI, *map(str, arguments)], capture_output=True, text=True, **options)


def test_register_in_a_pipe(flat: Path, tmp_path: Path) -> None:
    completed = run("register", *pair_options(flat), "-o", tmp_path / "out", "--config", flat / "brief.toml")
    assert (completed.returncode, completed.stderr) == (0, "")
    assert "Registered" in completed.stdout and "\x1b" not in completed.stdout
    assert (tmp_path / "out" / "report.json").is_file()


def test_waiting_threads_of_torch_sleep_unless_the_user_says_otherwise() -> None:
    """Threads that spin while they wait make a training beside another busy process a hundred times slower."""
    program = """if True:
        import os, sys
        from nephi.cli.process import run
        sys.argv = ["nephi", "--version"]
        try:
            run()
        finally:
            os.write(1, os.environ["OMP_WAIT_POLICY"].encode())
    """
    for given, used in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        environment |= {} if given is None else {"OMP_WAIT_POLICY": given}
        completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
        assert completed.stdout.endswith(used), completed.stderr


def test_error_is_one_line_with_exit_code_3(flat: Path, tmp_path: Path) -> None:
    completed = run("register", "-f", flat / "no.nii", "-m", flat / "moving.nii.gz", "-o", tmp_path / "out")
    assert (completed.returncode, completed.stdout) == (3, "")
    assert completed.stderr == f"nephi: error: {flat / 'no.nii'}: no such file or folder; check the name\n"
    assert list(tmp_path.iterdir()) == []


def test_warnings_of_libraries_are_hidden(flat: Path, tmp_path: Path) -> None:
    """Users cannot act on them: ITK warns of some fields, torch of read-only arrays."""
    out = tmp_path / "out"
    assert run("register", *pair_options(flat), "-o", out, "--config", flat / "brief.toml", "-q").stderr == ""
    files = ["-i", flat / "moving.nii.gz", "-r", flat / "fixed.nii.gz"]
    assert run("apply", "-t", out / "warp.nii.gz", "--inverse", *files, "-o", tmp_path / "w.nii").stderr == ""
    assert run("info", tmp_path / "w.nii").stderr == ""


def test_a_closed_pipe_is_no_error(flat: Path) -> None:
    """For example `nephi info x | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [*NEPHI, "info", str(flat / "fixed.nii.gz")]
        completed = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writing)
    assert "Traceback" not in completed.stderr and "Exception" not in completed.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("coloured", [True, False])
def test_progress_bar_on_a_terminal(coloured: bool, flat: Path, tmp_path: Path) -> None:
    """NO_COLOR=1 disables colours (https://no-color.org), but not the progress bar."""
    import pty

    leader, follower = pty.openpty()
    options = [*pair_options(flat), "-o", tmp_path / "out", "--config", flat / "quick.toml"]
    command = [*NEPHI, "register", *map(str, options)]
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment = {**plain, "TERM": "xterm", **({} if coloured else {"NO_COLOR": "1"})}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, env=environment)
    os.close(follower)
    output = b""
    try:
        while block := os.read(leader, 4096):
            output += block
    except OSError:  # Linux raises it when the other end is closed
        pass
    os.close(leader)
    printed, _ = process.communicate()
    assert process.returncode == 0
    assert b"deformable" in output and b"loss" in output
    assert b"Registered" in printed and b"\x1b" not in printed
    attributes = {int(a) for sequence in re.findall(rb"\x1b\[([\d;]+)m", output) for a in sequence.split(b";")}
    assert any(30 <= a <= 49 or 90 <= a <= 107 for a in attributes) == coloured
