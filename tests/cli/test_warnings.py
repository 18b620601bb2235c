"""Warnings of readers and registrations: once on standard error, in report.json, on the page, in Python."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nephi
from nephi.errors import warn
from nephi.io import images

from .conftest import BRIEF, Call

TEXT = "header of fixed.nii.gz says two things; used the <first>"


@pytest.fixture
def doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the reader of headers warn twice of every fixed image."""
    read = images.read_volume_header

    def doubting(path: Path) -> Any:
        if path.name == "fixed.nii.gz":
            warn(TEXT)
            warn(TEXT)
        return read(path)

    monkeypatch.setattr(images, "read_volume_header", doubting)


@pytest.fixture
def brief(tmp_path: Path) -> Path:
    (tmp_path / "brief.toml").write_text(BRIEF)
    return tmp_path / "brief.toml"


@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_register_prints_and_reports_warnings(
    call: Call, flat: Path, tmp_path: Path, brief: Path, doubtful: None, quiet: list[str]
) -> None:
    pair = ["-f", flat / "fixed.nii.gz", "-m", flat / "moving.nii.gz"]
    completed = call("register", *pair, "-o", tmp_path / "out", "--config", brief, *quiet)
    assert completed.code == 0
    assert completed.err.count(f"nephi: warning: {TEXT}\n") == 1
    assert json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["warnings"].count(TEXT) == 1
    assert TEXT.replace("<first>", "&lt;first&gt;") in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_other_commands_print_warnings(call: Call, flat: Path, tmp_path: Path, doubtful: None) -> None:
    same = ["-i", flat / "fixed.nii.gz", "-r", flat / "fixed.nii.gz"]
    completed = call("apply", "-t", "identity", *same, "-o", tmp_path / "out.nii.gz")
    assert (completed.code, completed.err.count(TEXT)) == (0, 1)


def test_python_receives_warnings(flat: Path, brief: Path, doubtful: None) -> None:
    with pytest.warns(nephi.DataWarning, match="says two things"):
        fixed = nephi.read_image(flat / "fixed.nii.gz")
    assert fixed.warnings == (TEXT,)
    assert fixed.with_data(fixed.data + 1).warnings == (TEXT,)
    moving = replace(nephi.read_image(flat / "moving.nii.gz"), warnings=("another",))
    result = nephi.register(fixed, moving, settings=nephi.read_settings(brief, "generic"))
    assert result.warnings[:2] == (TEXT, "another")
