"""`nephi predict`: registration of many pairs with one model."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import nephi

from ..models.predictions import model
from .conftest import Call

SAVE = ["--save", "transform,report", "--device", "cpu"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for the 2-D phantom."""
    file = tmp_path_factory.mktemp("model") / "m.safetensors"
    nephi.models.write_model(model("dense", 2, shape=(28, 28), spacing=(6.0, 6.0)), file)
    return file


@pytest.fixture
def table(flat: Path, tmp_path: Path) -> Path:
    """A table of one pair of images in both directions, with masks, labels and landmarks."""
    text = (
        "fixed, moving, fixed_mask, moving_mask, landmarks, fixed_labels, moving_labels\n"
        f"{flat}/fixed.nii.gz, {flat}/moving.nii.gz, {flat}/fixed_mask.nii.gz, {flat}/moving_mask.nii.gz, "
        f"{flat}/landmarks.csv, {flat}/fixed_labels.nii.gz, {flat}/moving_labels.nii.gz\n"
        f"{flat}/moving.nii.gz,{flat}/fixed.nii.gz,,,,,\n"
    )
    file = tmp_path / "pairs.csv"
    file.write_text(text, encoding="utf-8")
    return file


def summary(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "summary.csv").open(encoding="utf-8") as file:
        return {row["pair"]: row for row in csv.DictReader(file)}


def test_a_table_of_pairs(succeed: Call, flat: Path, path: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed = succeed("predict", path, table, "-o", out, *SAVE).out
    assert "[2/2] moving--fixed: " in printed and "2 of 2" in printed and "Dice, mean" in printed
    folders = sorted(p.name for p in out.iterdir() if p.is_dir())
    assert folders == ["fixed--moving", "moving--fixed"]
    assert sorted(p.name for p in (out / "fixed--moving").iterdir()) == ["report.json", "transform.nephi"]
    rows = summary(out)
    pairs = nephi.read_point_pairs(flat / "landmarks.csv")
    transform = nephi.read_transform(out / "fixed--moving" / "transform.nephi")
    errors = nephi.landmark_errors(transform, pairs).summary()
    assert float(rows["fixed--moving"]["tre_mm"]) == pytest.approx(errors["mean"], rel=1e-4)
    assert float(rows["fixed--moving"]["tre_before_mm"]) == pytest.approx(errors["before"], rel=1e-4)
    labels = [nephi.read_image(flat / f"{side}_labels.nii.gz") for side in ("fixed", "moving")]
    measured = nephi.evaluate(transform, fixed_labels=labels[0], moving_labels=labels[1]).table()["dice"]
    assert float(rows["fixed--moving"]["dice"]) == pytest.approx(measured["mean"], rel=1e-4)
    assert float(rows["fixed--moving"]["dice_before"]) == pytest.approx(measured["before"], rel=1e-4)
    assert rows["moving--fixed"]["tre_mm"] == "" and float(rows["moving--fixed"]["folding_percent"]) == 0
    assert all(float(row["seconds"]) > 0 and row["error"] == "" for row in rows.values())
    for name, row in rows.items():
        quality = json.loads((out / name / "report.json").read_text(encoding="utf-8"))["quality"]
        assert (row["quality"], row["reasons"]) == (quality["verdict"], "; ".join(quality["reasons"]))
    assert {row["quality"] for row in rows.values()} != {"ok"}  # an untrained model: there are reasons to compare


def test_complete_results_are_skipped(call: Call, succeed: Call, path: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    succeed("predict", path, table, "-o", out, *SAVE)
    first = {p: p.stat().st_mtime_ns for p in out.rglob("transform.nephi")}
    before = (out / "summary.csv").read_bytes()
    (out / "moving--fixed" / "report.json").unlink()  # as after an interruption
    succeed("predict", path, table, "-o", out, *SAVE, "-q")
    again = {p: p.stat().st_mtime_ns for p in out.rglob("transform.nephi")}
    assert [p.parent.name for p in first if first[p] != again[p]] == ["moving--fixed"]
    assert (out / "summary.csv").read_bytes().splitlines()[1] == before.splitlines()[1]
    older = out / "moving--fixed" / "report.json"
    report = json.loads(older.read_text(encoding="utf-8"))
    older.write_text(json.dumps({name: value for name, value in report.items() if name != "settings_digest"}))
    outcome = call("predict", path, table, "-o", out, *SAVE)
    assert outcome.code == 3 and "moving--fixed: contains results with other settings; use --overwrite" in outcome.err
    older.write_text(json.dumps(report))
    outcome = call("predict", path, table, "-o", out, *SAVE, "--refine", 4)
    assert outcome.code == 3 and "contains results with refinement {'steps': 0, 'parameters': 'all'}" in outcome.err
    outcome = call("predict", path, table, "-o", out, *SAVE, "--preset", "lung-ct")
    assert outcome.code == 3 and "contains results with other settings; use --overwrite" in outcome.err
    succeed("predict", path, table, "-o", out, *SAVE, "--threads", 2)  # changes nothing
    succeed("predict", path, table, "-o", out, *SAVE, "--refine", 4, "--overwrite")
    report = json.loads((out / "fixed--moving" / "report.json").read_text(encoding="utf-8"))
    assert report["refinement"] == {"steps": 4, "parameters": "all"} and len(report["history"]["loss"]) == 4


def test_summary_after_an_interruption(
    call: Call, succeed: Call, path: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    succeed("predict", path, table, "-o", out, *SAVE)
    pairs = list(summary(out))
    whole, calls = nephi.predict, []

    def interrupted(*args: Any, **options: Any) -> nephi.Registration:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*args, **options)

    monkeypatch.setattr(nephi, "predict", interrupted)
    assert call("predict", path, table, "-o", out, *SAVE, "--overwrite").code == 130
    assert list(summary(out)) == pairs


def test_bad_pair_does_not_affect_the_others(call: Call, flat: Path, path: Path, tmp_path: Path) -> None:
    for name in ("ada", "ben", "cem"):
        (tmp_path / name).mkdir()
        for side in ("fixed", "moving"):
            shutil.copy(flat / f"{side}.nii.gz", tmp_path / name / f"{side}.nii.gz")
    (tmp_path / "ben" / "moving.nii.gz").write_bytes(b"not an image")
    lines = [f"{name}/fixed.nii.gz,{name}/moving.nii.gz" for name in ("ada", "ben", "cem")]
    (tmp_path / "pairs.csv").write_text("\n".join(["fixed,moving", *lines]), encoding="utf-8")
    outcome = call("predict", path, tmp_path / "pairs.csv", "-o", tmp_path / "out", *SAVE)
    assert outcome.code == 3 and "2 of 3" in outcome.out
    errors = outcome.err.splitlines()
    assert errors[0].startswith("nephi: pair ben_fixed--ben_moving: ") and "ben/moving.nii.gz" in errors[0]
    assert errors[1] == f"nephi: error: 1 of 3 pairs failed, see {tmp_path / 'out' / 'summary.csv'}"
    rows = summary(tmp_path / "out")
    assert "moving.nii.gz" in rows["ben_fixed--ben_moving"]["error"]
    assert (tmp_path / "out" / "cem_fixed--cem_moving" / "transform.nephi").is_file()


def test_warnings_are_counted(call: Call, flat: Path, path: Path, tmp_path: Path) -> None:
    """Also by a second call, which skips the existing results."""
    image = nibabel.load(flat / "moving.nii.gz")
    image.header["qform_code"] = image.header["sform_code"] = 0
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header), tmp_path / "lost.nii.gz")
    rows = f"fixed,moving,name\n{flat}/fixed.nii.gz,{flat}/moving.nii.gz,good\n{flat}/fixed.nii.gz,lost.nii.gz,odd\n"
    (tmp_path / "pairs.csv").write_text(rows, encoding="utf-8")
    for _ in range(2):
        outcome = call("predict", path, tmp_path / "pairs.csv", "-o", tmp_path / "out", *SAVE)
        texts = json.loads((tmp_path / "out" / "odd" / "report.json").read_text(encoding="utf-8"))["warnings"]
        assert any("lost.nii.gz" in text for text in texts)
        summary_rows = summary(tmp_path / "out")
        assert summary_rows["odd"]["warnings"] == str(len(texts)) and summary_rows["good"]["warnings"] == "0"
        assert f", {len(texts)} warning" in outcome.out.splitlines()[1]
        assert re.search(r"pairs with warnings +1\b", outcome.out)


def test_a_data_set(call: Call, succeed: Call, flat: Path, path: Path, tmp_path: Path) -> None:
    place = tmp_path / "set"
    place.mkdir()
    for name in ("fixed", "moving", "fixed_labels", "moving_labels"):
        shutil.copy(flat / f"{name}.nii.gz", place)
    shutil.copy(flat / "landmarks.csv", place)
    images = tuple(
        nephi.datasets.DatasetImage(side, "ada", f"{side}.nii.gz", labels=f"{side}_labels.nii.gz")
        for side in ("fixed", "moving")
    )
    split = nephi.datasets.DatasetSplit(("ada",), (nephi.datasets.DatasetPair("fixed", "moving", "landmarks.csv"),))
    nephi.datasets.write_dataset_index(
        nephi.datasets.DatasetIndex("flat", 2, images, {"test": split}), place / "dataset.json"
    )
    succeed("predict", path, place, "-o", tmp_path / "out", "--device", "cpu")
    row = summary(tmp_path / "out")["fixed--moving"]
    assert float(row["tre_mm"]) > 0 and float(row["dice"]) > 0
    files = sorted(p.name for p in (tmp_path / "out" / "fixed--moving").iterdir())
    assert files == sorted([*nephi.results.OUTPUTS.values(), "report.html"])
    outcome = call("predict", path, place, "-o", tmp_path / "other", "--split", "val")
    assert outcome.code == 2 and "has no split 'val': choose one of test" in outcome.err


def test_wrong_usage(call: Call, path: Path, table: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    rigid = tmp_path / "rigid.toml"
    rigid.write_text('transform = "rigid"\n', encoding="utf-8")
    for options, code, message in (
        ([table, table, "-o", tmp_path / "out"], 3, "pairs.csv: not a model"),
        ([path, tmp_path / "none.csv", "-o", tmp_path / "out"], 3, "none.csv: no such file; expected a table of pairs"),
        ([path, table, "-o", tmp_path / "file"], 3, "expected a folder for the results, found a file"),
        ([path, table, "-o", tmp_path / "out", "--split", "test"], 2, "a table has no splits"),
        (
            [path, table, "-o", tmp_path / "out", "--device", "abacus"],
            2,
            "device: expected auto, cpu",
        ),
        ([path, table, "-o", tmp_path / "out", "--config", rigid], 2, 'transform: expected "deformable" for'),
    ):
        outcome = call("predict", *options)
        assert outcome.code == code and message in outcome.err, outcome
        assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_summary_contains_no_formulas(call: Call, flat: Path, path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """File names may be any text: paths stay valid, and errors stay in one line."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(flat / "fixed.nii.gz", "=1+1.nii.gz")
    Path("pairs.csv").write_text(
        'name,fixed,moving\na,=1+1.nii.gz,=1+1.nii.gz\nb,"@SUM(1)\x1b.nii",-x\n', encoding="utf-8"
    )
    assert call("predict", path, "pairs.csv", "-o", "out", *SAVE).code == 3
    rows = summary(tmp_path / "out")
    assert rows["a"]["fixed"] == "./=1+1.nii.gz" and Path(rows["a"]["fixed"]).is_file()
    assert rows["b"]["moving"] == "./-x" and rows["b"]["fixed"] == r"./@SUM(1)\x1b.nii"
    assert rows["b"]["error"].startswith(r"'@SUM(1)\x1b.nii: no such file")


def test_output_paths_are_checked_first(call: Call, path: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("summary.csv", "fixed--moving"):
        (out / "summary.csv").mkdir(parents=True) if name == "summary.csv" else out.mkdir()
        if name != "summary.csv":
            (out / name).write_text("mine", encoding="utf-8")
        outcome = call("predict", path, table, "-o", out, *SAVE)
        assert outcome.code == 3 and str(out / name) in outcome.err and outcome.out == ""
        assert [p.name for p in out.iterdir()] == [name]
        shutil.rmtree(out)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("can't allocate\n8 GB"), "unexpected RuntimeError: can't allocate 8 GB"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_unexpected_error_affects_one_pair(
    error: Exception, message: str, call: Call, path: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = nephi.predict, []

    def failing(*args: Any, **options: Any) -> nephi.Registration:
        calls.append(args)
        if len(calls) == 1:
            raise error
        return whole(*args, **options)

    monkeypatch.setattr(nephi, "predict", failing)
    assert call("predict", path, table, "-o", tmp_path / "out", *SAVE).code == 3
    rows = summary(tmp_path / "out")
    assert rows["fixed--moving"]["error"] == message and rows["moving--fixed"]["error"] == ""


def test_inputs_are_not_overwritten_by_results(
    call: Call, succeed: Call, path: Path, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    succeed("predict", path, table, "-o", out, "--save", "warped,report", "--device", "cpu")
    warped = out / "fixed--moving" / "warped.nii.gz"
    (tmp_path / "link").symlink_to(out)
    link = tmp_path / "link" / "fixed--moving" / "warped.nii.gz"
    table.write_text(f"{table.read_text(encoding='utf-8')}{link},{link},,,,,\n", encoding="utf-8")
    outcome = call("predict", path, table, "-o", out, "--overwrite", *SAVE)
    assert outcome.code == 3 and "this input would be overwritten by a result" in outcome.err and warped.is_file()


@pytest.mark.parametrize("value", ["1" + "0" * 400, '"x"', "NaN", "[1]", "{}", "true"])
def test_invalid_report_is_replaced(value: str, succeed: Call, path: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    succeed("predict", path, table, "-o", out, *SAVE)
    file = out / "fixed--moving" / "report.json"
    text = file.read_text(encoding="utf-8")
    error = json.dumps(json.loads(text)["inverse_consistency_mm"])
    file.write_text(text.replace(f'"inverse_consistency_mm": {error}', f'"inverse_consistency_mm": {value}'))
    succeed("predict", path, table, "-o", out, *SAVE)
