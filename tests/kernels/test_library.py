"""Test that the compiled library is chosen by CPU and version, and that torch replaces it where it is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nephi
from nephi import kernels
from nephi.kernels import library as loading

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("adam", "field", "library", "interpolation"):
        monkeypatch.setattr(f"nephi.kernels.{module}.library", lambda: None)


def error_of_a_small_fit() -> float:
    pair = nephi.phantoms.shapes_phantom(0, shape=(64, 64))
    result = nephi.register(pair.fixed, pair.moving, preset="generic", initial="moments", device="cpu")
    return nephi.landmark_errors(result.transform, pair.landmarks).summary()["mean"]


def test_a_fit_without_kernels_reaches_the_same_error(without_kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not kernels.available()
    in_torch = error_of_a_small_fit()
    monkeypatch.undo()
    assert kernels.available()
    assert abs(in_torch - error_of_a_small_fit()) < 0.1  # mm; rounding errors grow over the steps


def test_an_unloadable_library_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "_native.so"
    broken.write_bytes(b"not a library")
    spec = type("Spec", (), {"origin": str(broken)})()
    monkeypatch.setattr(loading, "find_spec", lambda name: spec)
    assert loading.library.__wrapped__() is None


def test_built_for_names_the_instruction_set(built: str) -> None:
    assert kernels.built_for() == loading.VECTORS[built]


def test_a_library_of_another_version_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loading.library.__wrapped__() is not None
    monkeypatch.setattr(loading, "INTERFACE", loading.INTERFACE + 1)
    assert loading.library.__wrapped__() is None


def test_installation_succeeds_without_a_compiler(tmp_path: Path) -> None:
    environment = {**os.environ, "CC": "no-such-compiler"}
    command = [
        sys.executable,
        "setup.py",
        "-q",
        "build_ext",
        "--build-lib",
        tmp_path,
        "--build-temp",
        tmp_path / "temp",
    ]
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "no-such-compiler" in process.stderr + process.stdout
    assert not list(tmp_path.rglob("*.so"))
