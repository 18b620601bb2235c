"""Test interrupted, repeated and overwritten conversions of DIR-Lab's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nephi

from ..conftest import Fails, Run, contents
from .conftest import LAYOUTS, Options


def test_equal_input_yields_equal_bytes_in_any_folder(
    run: Run, command: str, raw: Path, options: Options, tmp_path: Path
) -> None:
    run(command, raw, *options)
    raw.rename(tmp_path / "elsewhere")
    run(command, tmp_path / "elsewhere", "-o", tmp_path / "again", *options[2:])
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


def test_an_interrupted_run_is_resumed(run: Run, command: str, raw: Path, options: Options, tmp_path: Path) -> None:
    run(command, raw, *options)
    complete = contents(tmp_path / "out")
    deleted = f"images/{LAYOUTS[command]['first'][2].format(n=2)}.nii.gz"
    for name in ("dataset.json", deleted):
        (tmp_path / "out" / name).unlink()
    kept = next(path for path in (tmp_path / "out" / "images").iterdir())
    before = kept.stat().st_mtime_ns
    outcome = run(command, raw, *options)
    assert f"{deleted}: written" in outcome.out and outcome.out.count(": exists") == 5
    assert contents(tmp_path / "out") == complete and kept.stat().st_mtime_ns == before


def test_other_options_need_another_folder(
    run: Run,
    fails: Fails,
    command: str,
    raw: Path,
    options: Options,
    tmp_path: Path,
) -> None:
    run(command, raw, *options)
    other = (*options, "--first-slice", "inferior")
    fails(command, raw, *other, code=2, match="created by another command or with other options .* or --overwrite")
    assert run(command, raw, *other, "--overwrite").code == 0
    assert json.loads((tmp_path / "out/preparation.json").read_text(encoding="utf-8"))["first_slice"] == "inferior"
    assert ": written" not in run(command, raw, *other).out


def test_overwriting_without_raw_data_deletes_nothing(
    run: Run, fails: Fails, command: str, raw: Path, options: Options, tmp_path: Path
) -> None:
    run(command, raw, *options)
    before = contents(tmp_path / "out")
    fails(command, tmp_path / "typo", *options, "--overwrite", match="no such folder")
    (raw / LAYOUTS[command]["first"][1].format(n=10)).unlink()
    fails(command, raw, *options, "--overwrite", "--first-slice", "inferior", match="expected a file")
    assert contents(tmp_path / "out") == before


def test_an_interrupted_overwrite_loses_nothing_and_is_resumed(
    run: Run, fails: Fails, command: str, raw: Path, options: Options, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", (*options, "--first-slice", "inferior")
    run(command, raw, *options)
    before = contents(out)
    run(command, raw, "-o", tmp_path / "expected", *other[2:])
    path = raw / LAYOUTS[command]["first"][0].format(n=2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    fails(command, raw, *other, "--overwrite", match="expected 280 bytes")
    assert contents(out / "replaced") == before, "the old data set is complete"
    assert nephi.datasets.read_dataset_index(out / "replaced").images
    assert not (out / "dataset.json").exists()
    fails(command, raw, *options, code=2, match="created by another command or with other options")
    path.write_bytes(whole)
    again = run(command, raw, *other, "--overwrite")
    assert again.code == 0 and ": exists" in again.out
    assert contents(out) == contents(tmp_path / "expected")


@pytest.mark.parametrize(
    "moved", [["dataset.json"], ["dataset.json", "images"], ["dataset.json", "images", "landmarks"]]
)
@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_an_overwrite_interrupted_while_moving_files_is_resumed(
    run: Run, command: str, raw: Path, options: Options, tmp_path: Path, moved: list[str], more: Options
) -> None:
    """Old files that were not moved yet are not used for the new data set."""
    run(command, raw, *options)
    whole = contents(tmp_path / "out")
    (tmp_path / "out/replaced").mkdir()
    for name in moved:
        (tmp_path / "out" / name).rename(tmp_path / "out/replaced" / name)
    outcome = run(command, raw, *options, *more)
    assert outcome.code == 0 and ": exists" not in outcome.out
    assert contents(tmp_path / "out") == whole


def test_other_options_after_an_interrupted_overwrite(
    run: Run, fails: Fails, command: str, raw: Path, options: Options, tmp_path: Path
) -> None:
    run(command, raw, *options)
    before = contents(tmp_path / "out")
    path = raw / LAYOUTS[command]["second"][0].format(n=2)
    whole = path.read_bytes()
    path.write_bytes(b"")
    for offset in (1000, 1001):
        fails(command, raw, *options, "--hu-offset", offset, "--overwrite", match="expected 280 bytes")
        assert contents(tmp_path / "out/replaced") == before, "the last complete data set"
    path.write_bytes(whole)
    outcome = run(command, raw, *options, "--hu-offset", 1002, "--overwrite")
    assert outcome.code == 0 and ": exists" not in outcome.out
    assert not (tmp_path / "out/replaced").exists()


def test_a_folder_with_other_files_is_refused(fails: Fails, raw: Path, tmp_path: Path, command: str) -> None:
    fails(command, raw, "-o", raw, code=2, match="expected a new or empty folder")
