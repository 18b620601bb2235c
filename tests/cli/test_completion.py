"""Completion in real shells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nephi
from nephi.cli.registration_options import PRESETS, RESULTS

from .conftest import Call

SHELLS = ("bash", "zsh", "fish")


def test_names_match_those_of_the_library() -> None:
    assert sorted(PRESETS) == sorted(nephi.preset_names())
    assert (*nephi.results.OUTPUTS, "page") == RESULTS


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """The `nephi` script, as pip installs it on the PATH."""
    script = tmp_path / "bin" / "nephi"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom nephi.cli.main import main\n\nmain()\n", encoding="utf-8")
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("shell", SHELLS)
def test_script_is_valid_in_its_shell(shell: str, succeed: Call, tmp_path: Path) -> None:
    script = succeed("completion", shell).out
    assert f"_NEPHI_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell} to read it")
    (tmp_path / "script").write_text(script, encoding="utf-8")
    assert subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True).returncode == 0


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("nephi ev", ["evaluate"]),
        ("nephi register --preset lung-ct-", ["lung-ct-fast", "lung-ct-best"]),
        ("nephi register --pres", ["--preset"]),
        ("nephi register --save warp,re", ["warp,report"]),
        ("nephi register --transform r", ["rigid"]),
        ("nephi export -t a.nephi --format l", ["learn2reg"]),
        ("nephi completion z", ["zsh"]),
    ],
)
def test_bash_completes(line: str, completions: list[str], succeed: Call, command: Path) -> None:
    script = succeed("completion", "bash").out
    words = f"COMP_WORDS=({line}); COMP_CWORD={len(line.split()) - 1}"
    program = f'{script}\n{words}; _nephi_completion nephi; printf "%s\\n" "${{COMPREPLY[@]}}"'
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    completed = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert (completed.stdout.split(), completed.stderr) == (completions, "")


def test_unknown_shell_is_rejected(call: Call) -> None:
    outcome = call("completion", "tcsh")
    assert outcome.code == 2 and "bash" in outcome.err
