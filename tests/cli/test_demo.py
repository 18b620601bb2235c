"""`nephi demo`, on a smaller phantom than the real one."""

from pathlib import Path

import pytest

import nephi

from .conftest import Call


@pytest.fixture(autouse=True)
def small_phantom(monkeypatch: pytest.MonkeyPatch) -> None:
    make = nephi.phantoms.lung_phantom
    monkeypatch.setattr("nephi.phantoms.lung_phantom", lambda **options: make(**options, shape=(72, 56, 60)))


def test_saves_images_results_and_landmarks(succeed: Call, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    printed = succeed("demo", "-o", out, "--seed", 3).out
    for text in ("TRE before", "TRE after", "folding", "inverse consistency", str(out)):
        assert text in printed
    names = {p.name for p in out.iterdir()}
    assert names >= {"fixed.nii.gz", "moving.nii.gz", "fixed_mask.nii.gz", "moving_mask.nii.gz", "landmarks.csv"}
    assert names >= {
        "transform.nephi",
        "warp.nii.gz",
        "inverse_warp.nii.gz",
        "warped.nii.gz",
        "report.json",
        "report.html",
    }
    # The saved files reproduce the printed errors.
    errors = nephi.landmark_errors(
        nephi.read_transform(out / "transform.nephi"), nephi.read_point_pairs(out / "landmarks.csv")
    ).summary()
    assert f"{errors['mean']:.2f} mm mean" in printed and f"{errors['before']:.2f} mm" in printed
    assert errors["mean"] < 0.3 * errors["before"]


def test_non_empty_folder_is_rejected_first(call: Call, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    outcome = call("demo", "-o", tmp_path)
    assert outcome.code == 3 and outcome.out == ""
    assert str(tmp_path) in outcome.err and "--overwrite" in outcome.err
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_quiet(succeed: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    register, settings = nephi.register, nephi.settings.settings_from_table({"levels": [{"steps": 40}]}, "brief")
    monkeypatch.setattr(nephi, "register", lambda *a, preset, **k: register(*a, settings=settings, **k))
    assert succeed("demo", "-q").out == ""
