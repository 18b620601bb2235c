"""What ends up in a wheel: every module and preset, with cli/ as nephi.cli and no global package cli."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[1]


def installed_name(file: Path) -> str:
    """Path inside a wheel of a file of the repository."""
    path = file.relative_to(ROOT)
    return str(PurePosixPath("nephi", path) if path.parts[0] == "cli" else PurePosixPath(path))


def package_files() -> set[str]:
    files = [file for folder in ("nephi", "cli") for file in (ROOT / folder).rglob("*.py")]
    files += [ROOT / "nephi" / "py.typed", *(ROOT / "nephi" / "optimize" / "presets").glob("*.toml")]
    files += (ROOT / "nephi" / "report" / "templates").iterdir()
    return {installed_name(file) for file in files}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZipFile]:
    """A wheel built from a copy of the sources, so that no stale build/ folder leaks into it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in ("nephi", "cli"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*command, "-w", out, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("nephi-*.whl")
    with ZipFile(path) as archive:
        yield archive


def test_wheel_contains_every_module_and_preset(wheel: ZipFile) -> None:
    assert "nephi/cli/main.py" in wheel.namelist()
    assert package_files() - set(wheel.namelist()) == set()


def test_wheel_installs_nothing_but_nephi(wheel: ZipFile) -> None:
    folders = {name.split("/")[0] for name in wheel.namelist()}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {"nephi"}


def test_wheel_declares_the_command(wheel: ZipFile) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    assert "nephi = nephi.cli.main:main" in wheel.read(path).decode()


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    present = {str(PurePosixPath(file).parent).replace("/", ".") for file in package_files() if "__init__" in file}
    assert set(listed) == present
