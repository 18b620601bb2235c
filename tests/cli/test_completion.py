"""Completion, as real shells ask for it."""

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


def test_the_names_are_nephis_own() -> None:
    assert sorted(PRESETS) == sorted(nephi.preset_names())
    assert (*nephi.results.OUTPUTS, "page") == RESULTS


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """`nephi` as an installation puts it on the PATH."""
    script = tmp_path / "bin" / "nephi"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom nephi.cli.main import main\n\nmain()\n", encoding="utf-8")
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_of_that_shell(shell: str, succeed: Call, tmp_path: Path) -> None:
    script = succeed("completion", shell).out
    assert f"_NEPHI_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell} to read it")
    (tmp_path / "script").write_text(script, encoding="utf-8")
    assert subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True).returncode == 0


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "offered"),
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
def test_bash_completes(line: str, offered: list[str], succeed: Call, command: Path) -> None:
    script = succeed("completion", "bash").out
    words = f"COMP_WORDS=({line}); COMP_CWORD={len(line.split()) - 1}"
    asked = f'{script}\n{words}; _nephi_completion nephi; printf "%s\\n" "${{COMPREPLY[@]}}"'
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert (done.stdout.split(), done.stderr) == (offered, "")


def test_an_unknown_shell(call: Call) -> None:
    outcome = call("completion", "tcsh")
    assert outcome.code == 2 and "bash" in outcome.err
