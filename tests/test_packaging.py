"""Contents of a wheel: every module and preset, with cli/ as nephi.cli and no global package cli."""

import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[1]
STATIC = ROOT / "nephi" / "report" / "viewer" / "static"
NIIVUE = "niivue.umd.js"


def installed_name(file: Path) -> str:
    """Path inside a wheel of a file of the repository."""
    path = file.relative_to(ROOT)
    return str(PurePosixPath("nephi", path) if path.parts[0] == "cli" else PurePosixPath(path))


def package_files() -> set[str]:
    files = [file for folder in ("nephi", "cli") for file in (ROOT / folder).rglob("*.py")]
    files += [ROOT / "nephi" / name for name in ("py.typed", "__init__.pyi")]
    files += (ROOT / "nephi").glob("*/presets/*.toml")
    files += (ROOT / "nephi" / "report" / "templates").iterdir()
    files += STATIC.iterdir()  # including NiiVue if it was downloaded
    return {installed_name(file) for file in files}


# Not in a source distribution: the files of CI, editors and git.
FOR_DEVELOPERS = (".ci", ".editorconfig", ".github", ".gitignore", ".pre-commit-config.yaml")
SOURCES = ("benchmarks", "cli", "data_scripts", "docs", "examples", "nephi", "tests")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, without a stale build/ folder, whose files would be packed as well."""
    folder = tmp_path_factory.mktemp("source")
    unwanted = shutil.ignore_patterns("__pycache__", "work")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
    for file in ROOT.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy(file, folder)
    return folder


def run_build(command: list[str | Path], folder: Path) -> None:
    # NiiVue is packed if these sources have it; kernels, half a minute of compilation, are optional.
    environment = {**os.environ, "npm_config_offline": "true", "CC": "no-compiler"}
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def unpacked(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unpacked source distribution."""
    out = tmp_path_factory.mktemp("sdist")
    build = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    run_build(["-c", build, out], sources)
    (path,) = out.glob("nephi-*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(out, filter="data")
    return out / path.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZipFile]:
    """A wheel built from the source distribution."""
    out = tmp_path_factory.mktemp("wheel")
    run_build(["-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", out, "."], unpacked)
    (path,) = out.glob("nephi-*.whl")
    with ZipFile(path) as archive:
        yield archive


def test_source_distribution_contains_every_module_and_the_stub(unpacked: Path) -> None:
    packed = {file.relative_to(unpacked).as_posix() for file in unpacked.rglob("*") if file.is_file()}
    expected = {file.removeprefix("nephi/") if file.startswith("nephi/cli/") else file for file in package_files()}
    assert expected - packed == set()
    # Kernels of this machine stay here.
    assert {file for file in packed if file.endswith((".so", ".pyd", ".pyc"))} == set()


def test_source_distribution_is_the_repository(unpacked: Path) -> None:
    """Tests, docs, examples, scripts, results, CHANGELOG and CITATION: all but files for developers of nephi."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a clone: git does not list the files")
    tracked = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    missing = {name for name in tracked if not (unpacked / name).is_file()}
    assert {name.split("/")[0] for name in missing} <= set(FOR_DEVELOPERS), sorted(missing)[:20]


def test_wheel_without_a_compiler_contains_every_module_and_preset(wheel: ZipFile) -> None:
    assert "nephi/cli/main.py" in wheel.namelist()
    assert package_files() - set(wheel.namelist()) == set()


def test_one_wheel_serves_every_python(wheel: ZipFile) -> None:
    """The tag, the C interface of the kernels and `requires-python` state the same oldest Python."""
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/WHEEL"))
    tags = [line for line in wheel.read(path).decode().splitlines() if line.startswith("Tag:")]
    assert len(tags) == 1 and tags[0].startswith("Tag: cp311-abi3-")
    assert Path(str(wheel.filename)).name.startswith("nephi-") and "-cp311-abi3-" in str(wheel.filename)
    limited = f"#define Py_LIMITED_API 0x{3:02X}{11:02X}0000"
    assert limited in (ROOT / "nephi" / "kernels" / "module.c").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"].startswith(">=3.11,")


def test_wheel_contains_the_viewer_and_its_licences(wheel: ZipFile) -> None:
    files = {name.rsplit("/")[-1] for name in wheel.namelist() if name.startswith("nephi/report/viewer/static/")}
    assert files >= {"viewer.html", "viewer.css", "viewer.js", "scene.js", "landmarks.js", "NOTICE.txt"}
    assert (NIIVUE in files) == (STATIC / NIIVUE).exists()
    notice = wheel.read("nephi/report/viewer/static/NOTICE.txt").decode()
    holders = "Niivue, Yann Collet, Francesc Alted, Google Inc., Meta Platforms, RII-UTHSCSA, Jonathan Ong"
    holders += ", Arjun Barrett, Brandon Jones, Trevor Manz, Luke Edwards, Andrea Giammarchi, Jean-loup Gailly"
    assert [name for name in holders.split(", ") if name not in notice] == []
    texts = ("Redistribution and use in source and binary", "Neither the name", "to deal in", "with or without fee")
    words = " ".join(notice.split())
    assert [text for text in (*texts, "without any express or implied warranty") if text not in words] == []


def test_wheel_installs_nothing_but_nephi(wheel: ZipFile) -> None:
    folders = {name.split("/")[0] for name in wheel.namelist()}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {"nephi"}


def test_wheel_declares_the_command(wheel: ZipFile) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    assert "nephi = nephi.cli.process:run" in wheel.read(path).decode()


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    present = {str(PurePosixPath(file).parent).replace("/", ".") for file in package_files() if "__init__" in file}
    assert set(listed) == present


@pytest.fixture
def fetching() -> dict[str, Any]:
    """The names of niivue.py, run as by setup.py: without importing nephi."""
    return runpy.run_path(str(ROOT / "nephi" / "report" / "viewer" / "niivue.py"))


def fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Set the PATH to a fake program `npm` and the folders of the system."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_niivue_of_another_hash_is_refused(
    fetching: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.js").write_text("alert(1)")
    with tarfile.open(tmp_path / "other.tgz", "w:gz") as archive:
        archive.add(tmp_path / "other.js", "package/dist/niivue.umd.js")
    fake_npm(tmp_path / "bin", monkeypatch, f"cp '{tmp_path}/other.tgz' .")
    assert "expected hash" in fetching["fetch_niivue"](tmp_path / NIIVUE)
    assert not (tmp_path / NIIVUE).exists()
    (tmp_path / NIIVUE).write_text("alert(1)")
    assert not fetching["has_niivue"](tmp_path / NIIVUE)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_failed_download_of_niivue_is_explained(
    fetching: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path / "bin", monkeypatch, "echo no network >&2; exit 7")
    assert "failed with exit code 7: no network" in fetching["fetch_niivue"](tmp_path / NIIVUE)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "npm" in fetching["fetch_niivue"](tmp_path / NIIVUE)
    assert not (tmp_path / NIIVUE).exists()


def test_niivue_is_fetched_once(fetching: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if not fetching["has_niivue"]():
        pytest.skip("NiiVue was not downloaded when nephi was installed")
    monkeypatch.setenv("PATH", "")
    assert fetching["fetch_niivue"]() is None


def test_every_package_is_pinned_once() -> None:
    """pip refuses two different pins, and the next change may miss one of them."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==")[0].strip() for line in lines if line and not line.startswith("#")]
    assert sorted(pins) == sorted(set(pins))


def pinned(name: str) -> set[str]:
    """The `package==version` of each line of a requirements file."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {line.split(";")[0].split("\\")[0].strip() for line in lines if "==" in line and line[0].isalnum()}


def test_every_pinned_version_has_its_hashes() -> None:
    versions = {line for line in pinned("constraints.txt") if not line.startswith("torch==")}
    assert pinned("hashes.txt") == versions
