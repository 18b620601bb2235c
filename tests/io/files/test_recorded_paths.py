"""Paths in reports, after results, inputs, or both were moved."""

import os
import shutil
from pathlib import Path

import pytest

from nephi.io import located_path, recorded_path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """`ct/a.nii`, `results/p1/own.nii`, and a link `short` to the results."""
    for name in ("study/ct/a.nii", "study/results/p1/own.nii", "elsewhere/b.nii"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    (tmp_path / "study" / "short").symlink_to("results", target_is_directory=True)
    return tmp_path / "study"


def test_relative_inputs_move_with_the_results(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    recorded = [recorded_path("ct/a.nii", folder) for folder in (Path("results/p1"), Path("short/p1"))]
    assert recorded == ["../../ct/a.nii"] * 2
    monkeypatch.chdir("/")
    shutil.move(study, study.parent / "moved")
    for folder in ("results/p1", "short/p1"):
        assert located_path("../../ct/a.nii", study.parent / "moved" / folder) == study.parent / "moved/ct/a.nii"


def test_files_in_the_folder_are_relative_to_it(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = study / "results" / "p1"
    monkeypatch.chdir(folder)
    assert {recorded_path(path, folder) for path in ("own.nii", folder / "own.nii")} == {"own.nii"}
    assert recorded_path(study / "short" / "p1" / "own.nii", folder) == "own.nii"


def test_absolute_inputs_elsewhere_stay(study: Path) -> None:
    folder, other = study / "results" / "p1", study.parent / "elsewhere" / "b.nii"
    assert recorded_path(other, folder) == str(other)
    shutil.move(study, study.parent / "moved")
    assert located_path(str(other), study.parent / "moved/results/p1") == other


def test_a_link_to_the_input_is_kept(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets of git-annex and datalad consist of links; a name given by people is recorded, not its target."""
    (study / "ct" / "link.nii").symlink_to(os.path.join("..", "..", "elsewhere", "b.nii"))
    monkeypatch.chdir(study)
    assert recorded_path("ct/link.nii", Path("results/p1")) == "../../ct/link.nii"


def test_folders_of_results_that_do_not_exist_yet(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    assert recorded_path("ct", Path("results/new/p2")) == "../../../ct"


def test_names_are_no_paths(study: Path) -> None:
    assert [recorded_path(name, study) for name in ("image", "", "a\0b")] == [None] * 3
