"""Standard streams that are closed, full or of another encoding; malicious names; links and output paths."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nephi
from nephi.errors import printable

from .conftest import Call, pair_options

ODD = os.fsdecode(b"\xff\xe9")
# Window title, bell, colours, forged line, CSI of C1, change of the writing direction, line separator.
HOSTILE = "x\x1b]0;owned\x07\x1b[31m\r\nnephi: error: forged\x9b31m\u202ey\u2028z"
SHOWN = r"x\x1b]0;owned\x07\x1b[31m\r\nnephi: error: forged\x9b31m\u202ey\u2028z"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
FILES = {*nephi.results.OUTPUTS.values(), "report.html"}
NEPHI = [sys.executable, "-m", "nephi.cli"]


def run(*arguments: Any, shell: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run `nephi ...` with shell redirections such as `2>&-`."""
    command = ["sh", "-c", f'"$@" {shell}', "sh", *NEPHI, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment})


@pytest.fixture
def options(flat: Path, tmp_path: Path) -> list[Any]:
    return ["register", *pair_options(flat), "-o", tmp_path / "out", "--config", flat / "brief.toml"]


@pytest.mark.parametrize(
    ("shell", "code", "error"),
    [
        ("2>&-", 0, b""),
        (">&-", 0, b""),
        ("<&- >&- 2>&-", 0, b""),
        (">/dev/full", 1, b"nephi: error: standard output: No space left on device; all files were written\n"),
        ("2>/dev/full", 0, b""),
        (">/dev/full 2>/dev/full", 1, b""),
    ],
)
def test_broken_streams_do_not_stop_the_command(
    shell: str, code: int, error: bytes, options: list[Any], tmp_path: Path
) -> None:
    completed = run(*options, shell=shell)
    assert (completed.returncode, completed.stderr) == (code, error)
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert nephi.read_transform(tmp_path / "out" / "transform.nephi").dimension == 2


def test_closed_pipe_does_not_stop_the_command(options: list[Any], tmp_path: Path) -> None:
    completed = run(*options, shell="| true")
    assert (completed.returncode, completed.stderr) == (0, b"")  # exit code of `true`
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES


def test_exit_code_without_standard_error(tmp_path: Path) -> None:
    for shell in ("2>&-", "2>/dev/full"):
        assert run("info", tmp_path / "no.nii", shell=shell).returncode == 3
        assert run("info", shell=shell).returncode == 2


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, rb"\xe9\u03c6\udcff.nii.gz: 2-D image"),
        ({"PYTHONIOENCODING": "latin-1"}, b"\xe9\\u03c6\\udcff.nii.gz: 2-D image"),
        ({"PYTHONIOENCODING": "utf-8"}, "éφ\\udcff.nii.gz: 2-D image".encode()),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, b".nii.gz: 2-D image"),
    ],
)
def test_streams_of_other_encodings(environment: dict[str, str], shown: bytes, flat: Path, tmp_path: Path) -> None:
    path = tmp_path / f"éφ{os.fsdecode(bytes([255]))}.nii.gz"
    path.symlink_to(flat / "fixed.nii.gz")
    completed = run("info", path, **environment)
    assert (completed.returncode, completed.stderr) == (0, b"")
    assert shown in completed.stdout


def test_names_that_are_not_utf8(succeed: Call, flat: Path, tmp_path: Path) -> None:
    """In every writer and reader; the report is JSON in UTF-8, and its names are valid paths."""
    names = ("fixed", "moving", "landmarks", "fixed_points")
    fixed, moving, pairs, points = (
        tmp_path / f"{name}{ODD}{''.join(next(flat.glob(f'{name}.*')).suffixes)}" for name in names
    )
    for name, path in zip(names, (fixed, moving, pairs, points), strict=True):
        path.write_bytes(next(flat.glob(f"{name}.*")).read_bytes())
    out = tmp_path / f"out{ODD}"
    succeed("register", "-f", fixed, "-m", moving, "-o", out, "--config", flat / "brief.toml", "--landmarks", pairs)
    report = json.loads((out / "report.json").read_bytes().decode("utf-8"))
    assert Path(report["fixed"]) == fixed and Path(report["moving"]).is_file()
    assert r"fixed\udcff\udce9.nii.gz" in (out / "report.html").read_bytes().decode("utf-8")
    transform = ["-t", out / "transform.nephi"]
    for suffix in (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd"):
        warped = tmp_path / f"warped{ODD}{suffix}"
        succeed("apply", *transform, "-i", moving, "-r", fixed, "-o", warped)
        assert (tmp_path / os.fsdecode(os.fsencode(warped))).is_file()
        succeed("info", warped)
    for kind, suffix in (("h5", ".h5"), ("h5", ".tfm"), ("itk", ".nrrd"), ("itk", ".mha"), ("itk", ".nii.gz")):
        exported = tmp_path / f"exported{ODD}{suffix}"
        succeed("export", *transform, "-r", fixed, "--format", kind, "-o", exported)
        succeed("points", "-t", exported, "-i", points, "-o", tmp_path / f"mapped{ODD}.csv")
    succeed("jacobian", *transform, "-r", fixed, "-o", tmp_path / f"jacobian{ODD}.nii.gz")
    assert "landmarks" in succeed("evaluate", *transform, "--landmarks", pairs, "--json", tmp_path / f"e{ODD}").out


@pytest.fixture
def hostile(flat: Path, tmp_path: Path) -> Path:
    folder = tmp_path / HOSTILE
    folder.mkdir()
    for path in flat.iterdir():
        if path.is_file():
            (folder / f"{HOSTILE}{path.name}").write_bytes(path.read_bytes())
    return folder


def test_control_characters_are_escaped(
    call: Call, hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hostile)
    fixed, moving, config, points = (
        f"{HOSTILE}{name}" for name in ("fixed.nii.gz", "moving.nii.gz", "brief.toml", "fixed_points.csv")
    )
    transform = f"{HOSTILE}/transform.nephi"
    calls = [
        ["register", "-f", fixed, "-m", moving, "-o", HOSTILE, "--config", config, "-v"],
        ["register", "-f", fixed, "-m", moving, "-o", f"{HOSTILE}2", "--config", config, "--dry-run"],
        ["register", "-f", fixed, "-m", moving, "-o", HOSTILE, "--config", config],
        ["register", "-f", f"no{HOSTILE}", "-m", moving, "-o", f"{HOSTILE}2"],
        ["register", "-f", fixed, "-m", moving, "-o", f"{HOSTILE}2", "--frame", HOSTILE],
        ["register", "-f", fixed, "-m", moving, "-o", f"{HOSTILE}2", "--preset", HOSTILE],
        ["register", "-f", fixed, "-m", moving, "-o", f"{HOSTILE}2", "--similarity", HOSTILE],
        [HOSTILE],
        ["info", fixed],
        ["info", transform],
        ["info", config],
        ["apply", "-t", transform, "-i", moving, "-r", fixed, "-o", f"{HOSTILE}w.nii", "-v"],
        ["apply", "-t", transform, "-i", points, "-r", fixed, "-o", f"{HOSTILE}w.nii", "-v"],
        ["points", "-t", transform, "-i", points, "-o", f"{HOSTILE}p.csv", "-v"],
        ["export", "-t", transform, "-r", fixed, "--format", "itk", "-o", f"{HOSTILE}x{HOSTILE}", "-v"],
        ["evaluate", "-t", transform, "--landmarks", points],
        ["view", f"no{HOSTILE}"],
        ["predict", f"no{HOSTILE}", points, "-o", HOSTILE],
        ["train", config, "-o", HOSTILE],
    ]
    printed = ""
    for arguments in calls:
        outcome = call(*arguments)
        assert not CONTROL.search(outcome.out + outcome.err), arguments
        assert not re.search("^nephi: error: forged", outcome.out + outcome.err, re.MULTILINE)
        assert outcome.code in (0, 2, 3)
        printed += outcome.out + outcome.err
    assert printed.count(SHOWN) >= len(calls)
    page = (hostile / HOSTILE / "report.html").read_text(encoding="utf-8")
    assert f"{SHOWN}fixed.nii.gz" in page.replace("&#39;", "'") and not CONTROL.search(page.replace("\t", ""))


def test_labels_and_warnings_are_escaped(call: Call, flat: Path, tmp_path: Path) -> None:
    """Labels of points, keys of a settings file."""
    rows = [{"id": f"{i}", "label": f"{HOSTILE}{i}", "position": [i, 0, None]} for i in range(2)]
    table = {"markups": [{"coordinateSystem": "LPS", "controlPoints": rows}]}
    (tmp_path / "p.mrk.json").write_text(json.dumps(table), encoding="utf-8")
    (tmp_path / "c.toml").write_text(f"[optimization]\n{json.dumps(HOSTILE)} = 1\n", encoding="utf-8")
    (tmp_path / "i.json").write_text(json.dumps({"format": HOSTILE}), encoding="utf-8")
    for arguments in (
        ["info", tmp_path / "p.mrk.json"],
        ["register", *pair_options(flat), "-o", tmp_path / "o", "--config", tmp_path / "c.toml"],
    ):
        outcome = call(*arguments)
        assert outcome.code in (2, 3) and not CONTROL.search(outcome.err)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é φ 漢 🙂", "plain é φ 漢 🙂"),
        ("a\tb\nc", r"a\tb\nc"),
        ("\x1b[2J\x9b2J", r"\x1b[2J\x9b2J"),
        ("\u202e\u2066\u200f\ufeff\U000e0041", r"\u202e\u2066\u200f\ufeff\U000e0041"),
        ("\udcff\ud800", r"\udcff\ud800"),
        ("می\u200cخواهم 👩\u200d🔬", "می\u200cخواهم 👩\u200d🔬"),  # joiners belong to the spelling
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_ids_are_preserved_in_csv(succeed: Call, brief_result: Path, tmp_path: Path) -> None:
    """Ids with line breaks, quotes and formulas of spreadsheets are preserved."""
    ids = ("a\rb", "a\nb", '"', "=1+1", "a,b", "\x1b[31m")
    points = nephi.Points(nephi.read_points(brief_result.parent / "fixed_points.csv").coordinates[: len(ids)], ids)
    nephi.write_points(tmp_path / "p.csv", points)
    assert nephi.read_points(tmp_path / "p.csv").ids == ids
    succeed("points", "-t", brief_result / "transform.nephi", "-i", tmp_path / "p.csv", "-o", tmp_path / "q.csv")
    with (tmp_path / "q.csv").open(encoding="utf-8", newline="") as file:
        assert tuple(row["id"] for row in csv.DictReader(file)) == ids


@pytest.mark.parametrize("link", ["through links", "through a folder"])
def test_output_linked_to_an_input_is_rejected(
    link: str, call: Call, flat: Path, brief_result: Path, tmp_path: Path
) -> None:
    source = tmp_path / "i.nii.gz"
    source.write_bytes((flat / "moving.nii.gz").read_bytes())
    output = source
    if link == "through links":
        (tmp_path / "l1.nii.gz").symlink_to("i.nii.gz")
        output = tmp_path / "l2.nii.gz"
        output.symlink_to(tmp_path / "l1.nii.gz")
    elif link == "through a folder":
        (tmp_path / "folder").symlink_to(tmp_path)
        output = tmp_path / "folder" / "i.nii.gz"
    before = source.read_bytes()
    transform = ["-t", brief_result / "transform.nephi"]
    for arguments in (
        ["apply", *transform, "-i", source, "-r", flat / "fixed.nii.gz", "-o", output],
        ["export", *transform, "-r", source, "--format", "itk", "-o", output],
        ["jacobian", *transform, "-r", source, "-o", output],
    ):
        outcome = call(*arguments)
        assert outcome.code == 3 and "refers through a link to the input" in outcome.err
        assert source.read_bytes() == before


def test_apply_and_register_write_through_links(
    succeed: Call, flat: Path, brief_result: Path, tmp_path: Path, make_link: Callable[[str], Path]
) -> None:
    target = make_link("warped.nii.gz")  # to a file without a suffix
    files = ["-i", flat / "moving.nii.gz", "-r", flat / "fixed.nii.gz"]
    succeed("apply", "-t", brief_result / "transform.nephi", *files, "-o", tmp_path / "out" / "warped.nii.gz")
    warped = tmp_path / "out" / "warped.nii.gz"
    assert nephi.read_image(warped).dimension == 2 and warped.is_symlink()
    assert target.read_bytes()[:2] == b"\x1f\x8b"  # compressed, according to the name of the link
    target.write_bytes(b"old")
    options = ["--config", flat / "brief.toml", "--overwrite"]
    succeed("register", *pair_options(flat), "-o", tmp_path / "out", *options)
    warped = tmp_path / "out" / "warped.nii.gz"
    assert nephi.read_image(warped).dimension == 2 and warped.is_symlink()
    assert target.read_bytes()[:2] == b"\x1f\x8b"  # compressed, according to the name of the link
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.fixture
def make_link(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        (tmp_path / "out").mkdir()
        (tmp_path / "elsewhere").mkdir()
        target = tmp_path / "elsewhere" / "SHA256-0123"
        target.write_bytes(b"old")
        (tmp_path / "out" / name).symlink_to(target)
        return target

    return make


@pytest.mark.parametrize("name", ["n" * 300 + ".nii.gz", "missing/x.nii.gz"])
def test_output_is_checked_first(name: str, call: Call, flat: Path, tmp_path: Path) -> None:
    """The output is checked before any input is read: the inputs do not exist."""
    (tmp_path / "folder").mkdir()
    none = tmp_path / "none.nii"
    for arguments in (
        ["apply", "-t", none, "-i", none, "-r", none, "-o", tmp_path / name],
        ["jacobian", "-t", none, "-r", none, "-o", tmp_path / name],
        ["export", "-t", none, "-r", none, "--format", "itk", "-o", tmp_path / name],
        ["points", "-t", none, "-i", none, "-o", tmp_path / name],
    ):
        outcome = call(*arguments)
        assert outcome.code == 3 and str(tmp_path / name) in outcome.err
        assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_results_folder_whose_name_is_too_long(call: Call, flat: Path, tmp_path: Path) -> None:
    none = tmp_path / "none.nii"
    outcome = call("register", "-f", none, "-m", none, "-o", tmp_path / ("n" * 300))
    assert outcome.code == 3 and "File name too long" in outcome.err and outcome.err.count("\n") == 1


def test_ids_outside_utf8(tmp_path: Path) -> None:
    """Written from Python; files with such ids are rejected."""
    points = nephi.Points(nephi.Grid.from_spacing((2, 1), (1.0, 1.0)).voxel_centres().reshape(2, 2), ("\ud800", "b"))
    nephi.write_points(tmp_path / "p.csv", points)
    assert nephi.read_points(tmp_path / "p.csv").ids == (r"\ud800", "b")
