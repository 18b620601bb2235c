"""`python -m nephi`, and advice for a clone that is used without installation."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=folder)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of what a clone has at its top level."""
    shutil.copytree(ROOT / "nephi", tmp_path / "nephi", ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.js"))
    shutil.copytree(ROOT / "cli", tmp_path / "cli", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_python_m_nephi_is_the_command(tmp_path: Path) -> None:
    done = run("-m", "nephi", "register", "--help", folder=tmp_path)
    assert done.returncode == 0 and "Usage: nephi register" in done.stdout


def test_missing_packages(clone: Path) -> None:
    """-S: without the packages of the environment."""
    done = run("-S", "-c", "import nephi", folder=clone)
    assert done.returncode == 1
    assert f"nephi needs lazy_loader, which is not installed; run: {sys.executable} -m pip install -e {clone}" in (
        done.stderr
    )
    code = (
        "import sys; sys.modules['torch'] = None\nimport nephi\ntry:\n    nephi.Grid\nexcept ImportError as e: print(e)"
    )
    done = run("-c", code, folder=clone)
    assert "nephi needs torch, which is not installed; run: " in done.stdout, done.stderr


def test_the_command_of_a_clone(clone: Path) -> None:
    lazy = Path(__import__("lazy_loader").__file__).parents[1]
    code = f"import sys; sys.path += [{str(lazy)!r}]; import runpy; runpy.run_module('nephi', run_name='__main__')"
    done = run("-S", "-c", code, folder=clone)
    assert done.returncode == 1
    assert f"nephi: error: {clone} is not installed; run: {sys.executable} -m pip install -e {clone}" in done.stderr


@pytest.mark.parametrize("path", ["cli/main.py", "cli"])
def test_cli_as_a_script(path: str) -> None:
    done = run(path)
    assert done.returncode == 1
    assert "cli/ is a part of nephi and no program: install the clone (python -m pip install -e .)" in done.stderr
    assert len(done.stderr.splitlines()) == 1
