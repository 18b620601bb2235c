"""`nephi register` of images that do not match the settings: warnings, and an error with --strict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import nephi

from .conftest import Call


@pytest.fixture
def scaled(solid: Path, tmp_path: Path) -> list[Any]:
    """Options for the CT phantom with intensities scaled to 0 to 1."""
    options: list[Any] = []
    for side in ("fixed", "moving"):
        image = nephi.read_image(solid / f"{side}.nii.gz")
        path = tmp_path / f"{side}.nii.gz"
        nephi.write_image(image.with_data((image.data.float().clamp(-1000, 1000) + 1000) / 2000), path)
        options += [f"--{side}", path, f"--{side}-mask", solid / f"{side}_mask.nii.gz"]
    config = tmp_path / "quick.toml"
    config.write_text("[affine]\nsteps = 20\n[[levels]]\nsteps = 10\n")
    return [*options, "--preset", "lung-ct", "--config", config]


def test_implausible_results_are_labelled(call: Call, scaled: list[Any], tmp_path: Path) -> None:
    outcome = call("register", *scaled, "-o", tmp_path / "out")
    assert outcome.code == 0
    lines = outcome.err.splitlines()
    assert len(lines) == len(set(lines)) >= 2 and all(line.startswith("nephi: warning: ") for line in lines)
    assert f"{tmp_path / 'fixed.nii.gz'}: expected a CT in Hounsfield units" in lines[0]
    assert outcome.out.startswith("Registered, but implausible: see the warnings above\n")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [f"nephi: warning: {text}" for text in report["warnings"]] == lines
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "expected a CT in Hounsfield units" in page
    assert '<span class="option">--preset</span> generic' in page  # its hyphens do not break lines


def test_strict_fails_after_the_results_are_written(call: Call, scaled: list[Any], tmp_path: Path) -> None:
    outcome = call("register", *scaled, "-o", tmp_path / "out", "--strict", "-q")
    assert (outcome.code, outcome.out) == (4, "")
    *lines, last = outcome.err.splitlines()
    count = "warning" if len(lines) == 1 else f"{len(lines)} warnings"
    written = f"results are in {tmp_path / 'out'}"
    assert last == f"nephi: error: implausible images or result, see the {count} above; {written}"
    assert len(list((tmp_path / "out").iterdir())) == 6
    outcome = call("register", *scaled, "-o", tmp_path / "other", "--strict", "--dry-run")
    assert outcome.code == 4 and not (tmp_path / "other").exists()
    assert outcome.err.splitlines()[-1].endswith(" above")  # there are no results to refer to


def test_strict_accepts_plausible_results(call: Call, flat: Path, tmp_path: Path) -> None:
    options = ["-f", flat / "fixed.nii.gz", "-m", flat / "moving.nii.gz", "--config", flat / "quick.toml"]
    outcome = call("register", *options, "-o", tmp_path / "out", "--save", "report", "--strict")
    assert (outcome.code, outcome.err) == (0, "") and outcome.out.startswith("Registered")


def test_window_outside_the_intensities(call: Call, flat: Path, tmp_path: Path) -> None:
    images = ["-f", flat / "fixed.nii.gz", "-m", flat / "moving.nii.gz"]
    outcome = call("register", *images, "-o", tmp_path / "out", "--window", "20000", "30000")
    assert outcome.code == 3 and "expected intensities inside the window 20000 to 30000" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_failed_verdict_has_an_exit_code_of_its_own(call: Call, flat: Path, tmp_path: Path) -> None:
    """The moving image is noise: nothing in it corresponds to the fixed image."""
    fixed = nephi.read_image(flat / "fixed.nii.gz")
    values = torch.rand(fixed.grid.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    nephi.write_image(fixed.with_data(1000 * values), tmp_path / "noise.nii.gz")
    options = ["-f", flat / "fixed.nii.gz", "-m", tmp_path / "noise.nii.gz", "--config", flat / "quick.toml"]
    outcome = call("register", *options, "-o", tmp_path / "out", "--save", "report,page")
    assert outcome.code == 0 and outcome.out.startswith("Failed: the images do not match, see the reasons below\n")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    (reason, *_) = report["quality"]["reasons"]
    assert report["quality"]["verdict"] == "failed" and reason.startswith("only ") and reason in outcome.out
    outcome = call("register", *options, "-o", tmp_path / "strict", "--save", "report", "--strict", "-q")
    assert (outcome.code, outcome.out) == (5, "") and (tmp_path / "strict" / "report.json").is_file()
    last = outcome.err.splitlines()[-1]
    assert last.startswith(f"nephi: error: the registration failed: {reason}") and str(tmp_path / "strict") in last
