"""`nephi info` on all kinds of files."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import nephi
from tests.io.dicom.dicom_writer import ramp, write_slices

from .conftest import Call, voxels


def test_a_nephi_file(succeed: Call, solid: Path) -> None:
    printed = succeed("info", solid / "result" / "transform.nephi").out
    assert "transform and its inverse" in printed
    assert "52 x 40 x 44" in printed
    assert nephi.__version__ in printed and "torch" in printed
    stored = nephi.fields.read_nephi(solid / "result" / "transform.nephi")
    assert str(sum(p.numel() for p in stored.steps[0].pair.parameters())) in printed
    assert all(f"{s:.4g}" in printed for s in stored.moving_grid.spacing.tolist())


@pytest.mark.parametrize(
    ("interpolation", "label"), [("linear", "linear interp"), ("quadratic", "quadratic B-splines")]
)
def test_the_interpolation_of_its_grids(interpolation: str, label: str, succeed: Call, tmp_path: Path) -> None:
    grid = nephi.Grid((6, 5), torch.eye(3, dtype=torch.float64))
    settings = nephi.fields.FieldSettings(spacings=(3.0,), interpolation=interpolation)
    step = nephi.fields.FieldStep(nephi.fields.build_fields(settings, grid, torch.Generator()))
    stored = nephi.fields.StoredTransform(nephi.AffineTransform.identity(2), grid, grid, (step,))
    (tmp_path / "a.nephi").write_bytes(nephi.fields.nephi_bytes(stored))
    assert label in succeed("info", tmp_path / "a.nephi").out


def test_its_settings(succeed: Call, flat_result: Path, tmp_path: Path) -> None:
    printed = succeed("info", flat_result / "transform.nephi", "--settings").out
    path = tmp_path / "settings.toml"
    path.write_text(printed, encoding="utf-8")
    settings = nephi.read_settings(path, "generic")
    assert settings.objective.points == 256 and settings.length_unit == 1.0
    assert nephi.settings.settings_toml(settings) == printed


def test_the_settings_of_a_file_of_version_1_have_their_current_names(succeed: Call) -> None:
    path = Path(__file__).parents[1] / "fields" / "version1.nephi"
    printed = succeed("info", path, "--settings").out
    assert "[optimization]\nrate = 0.01\n" in printed and "[fit]" not in printed


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fixed.nii.gz", ["2-D image", "96 x 96", "1.667 x 1.5 mm", "int16", "grid origin (RAS)", "-79.17, -71.25"]),
        ("fixed_mask.nii.gz", ["2-D image", "uint8", "0 to 1"]),
        ("landmarks.csv", ["landmark pairs", "200"]),
        ("fixed_points.csv", ["points", "200"]),
        ("result/warp.nii.gz", ["displacement field", "largest displacement", "96 x 96"]),
        ("result/inverse_warp.nii.gz", ["displacement field", "91 x 106"]),
    ],
)
def test_files_of_a_2d_pair(name: str, expected: list[str], succeed: Call, flat: Path, flat_result: Path) -> None:
    printed = succeed("info", flat / name).out
    assert str(flat / name) in printed
    assert all(text in printed for text in expected)


def test_other_kinds(succeed: Call, solid: Path, solid_affine: Path, tmp_path: Path) -> None:
    assert "AffineTransform" in succeed("info", solid_affine).out
    volume = voxels(solid / "fixed.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.stack([volume] * 4, -1), np.eye(4)), tmp_path / "s.nii")
    assert "series of 4 volumes" in succeed("info", tmp_path / "s.nii").out
    image = sitk.ReadImage(str(solid / "fixed.nii.gz"))
    sitk.WriteImage(image, str(tmp_path / "i.nrrd"))
    printed = succeed("info", tmp_path / "i.nrrd").out
    assert "3-D image" in printed and "52 x 40 x 44" in printed
    field = sitk.ReadImage(str(solid / "result" / "warp.nii.gz"))
    sitk.WriteImage(field, str(tmp_path / "f.mha"))
    longest = np.linalg.norm(sitk.GetArrayFromImage(field), axis=-1).max()
    assert f"{longest:.2f} mm" in succeed("info", tmp_path / "f.mha").out


@pytest.mark.parametrize("name", ["points.csv", "points.mrk.json", "points.fcsv", "points.pts"])
def test_points_of_other_tools(name: str, succeed: Call, solid: Path, tmp_path: Path) -> None:
    nephi.write_points(tmp_path / name, nephi.read_points(solid / "fixed_points.csv"))
    printed = succeed("info", tmp_path / name).out
    assert f"{tmp_path / name}: points" in printed and "300" in printed
    if name == "points.pts":
        (tmp_path / name).rename(tmp_path / "points.txt")
        assert f"{tmp_path / 'points.txt'}: points" in succeed("info", tmp_path / "points.txt").out


def test_voxel_indices_without_a_header_are_rejected(call: Call, tmp_path: Path) -> None:
    (tmp_path / "case1_300_T00_xyz.txt").write_text("120\t130\t40\n121\t131\t41\n", encoding="utf-8")
    outcome = call("info", tmp_path / "case1_300_T00_xyz.txt")
    assert outcome.code == 3 and "dirlab" in outcome.err


def test_invalid_cell_is_named(call: Call, tmp_path: Path) -> None:
    for text, message in (
        ("id,fixed_x,fixed_y,moving_x,moving_y\n1,2,3,4\n", "line 2, column moving_y"),
        ("id,x,y\n1,2,zwei\n", "line 2, column y"),
        ("name,lat,lon\n", "expected the columns x,y"),
    ):
        path = tmp_path / "fixed_points.csv"
        path.write_text(text, encoding="utf-8")
        outcome = call("info", path)
        assert outcome.code == 3 and outcome.out == ""
        assert outcome.err.startswith(f"nephi: error: {path}: ") and message in outcome.err


@pytest.mark.parametrize(
    "name", ["no.nephi", "no.nii", "no.nii.gz", "no.mha", "no.csv", "no.tfm", "no.h5", "no.png", "no"]
)
def test_missing_files(name: str, call: Call, tmp_path: Path) -> None:
    outcome = call("info", tmp_path / name)
    assert outcome.code == 3 and outcome.out == ""
    assert outcome.err.startswith(f"nephi: error: {tmp_path / name}: ") and outcome.err.count("\n") == 1


def test_unknown_files(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("hello")
    (tmp_path / "b.nii.gz").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name in ("a.docx", "b.nii.gz", "folder"):
        outcome = call("info", tmp_path / name)
        assert outcome.code == 3 and name in outcome.err


def test_a_folder_of_results(succeed: Call, call: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    printed, report = succeed("info", flat_result).out, json.loads((flat_result / "report.json").read_text("utf-8"))
    assert f"{flat_result}: result of a registration" in printed
    folding = report["whole_grid"]["folding_percent"]
    for text in (str(flat / "fixed.nii.gz"), str(flat / "moving.nii.gz"), f"{folding:.4f} %", nephi.__version__):
        assert text in printed
    assert "transform.nephi, warp.nii.gz, inverse_warp.nii.gz, warped.nii.gz, report.json" in printed
    assert (
        succeed("info", flat_result, "--settings").out
        == succeed("info", flat_result / "transform.nephi", "--settings").out
    )
    printed = succeed("info", flat_result / "report.json").out
    assert "report.json: report of a registration" in printed and f"{folding:.4f} %" in printed
    # Moved without its inputs, which were given by paths relative to nothing: they are named.
    report["files"] = {"fixed": "../gone.nii.gz"}
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "report.json").write_text(json.dumps(report), encoding="utf-8")
    assert f"{tmp_path / 'gone.nii.gz'} (no longer exists)" in succeed("info", tmp_path / "moved").out
    (tmp_path / "moved" / "report.json").write_text("{}", encoding="utf-8")
    outcome = call("info", tmp_path / "moved")
    assert outcome.code == 3 and "expected the report of a registration" in outcome.err


def test_measures_of_any_type(succeed: Call, tmp_path: Path) -> None:
    """Reports of other programs, or damaged ones, are described as far as possible."""
    table = {"affine_matrix_ras": 1, "settings": 2, "usage": [3], "fixed": {}, "versions": 4, "files": 5}
    table |= {"tre_mm": {"mean": "x", "before": 10**200}, "dice": 7, "whole_grid": {}, "quality": {"reasons": 9}}
    (tmp_path / "report.json").write_text(json.dumps(table), encoding="utf-8")
    printed = succeed("info", tmp_path / "report.json").out
    assert "unknown mm" in printed and "quality" in printed


def test_measures_of_an_evaluation(succeed: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "measured.json", ["-t", flat_result / "transform.nephi"]
    succeed("evaluate", *options, "--landmarks", flat / "landmarks.csv", "--json", out, "-q")
    mean = json.loads(out.read_text(encoding="utf-8"))["tre_mm"]["mean"]
    printed = succeed("info", out).out
    assert f"{out}: measures of nephi evaluate" in printed and f"{mean:.3f} mm" in printed


def test_tables_of_pairs(succeed: Call, flat: Path, tmp_path: Path) -> None:
    text = "name;fixed;moving;landmarks\na;{0}/fixed.nii.gz;{0}/moving.nii.gz;l.csv\nb;{0}/fixed.nii.gz;gone.nii;\n"
    (tmp_path / "pairs.csv").write_text(text.format(flat), encoding="utf-8")
    printed = succeed("info", tmp_path / "pairs.csv").out
    assert "pairs of images" in printed and f"1, the first is {tmp_path / 'gone.nii'}" in printed
    summary = "pair,fixed,moving,tre_before_mm,tre_mm,error\na,f,m,4,1,\nb,f,m,6,2,\nc,f,m,,,damaged\n"
    (tmp_path / "summary.csv").write_text(summary, encoding="utf-8")
    for path in (tmp_path / "summary.csv", tmp_path):
        lines = [line.split() for line in succeed("info", path).out.splitlines()]
        assert ["pairs", "3"] in lines and ["failed", "1"] in lines and ["tre_mm,", "mean", "1.5"] in lines


def test_settings_and_names(succeed: Call, call: Call, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('preset = "lung-ct"\n', encoding="utf-8")
    printed = succeed("info", tmp_path / "s.toml").out
    assert "settings of nephi register" in printed and nephi.preset("lung-ct").objective.similarity in printed
    (tmp_path / "s.toml").write_text("liver = 1\n", encoding="utf-8")
    outcome = call("info", tmp_path / "s.toml")
    assert outcome.code == 3 and "liver" in outcome.err
    for name in ("n.ctbl", "n.txt", "n.label"):
        (tmp_path / name).write_text("3 left-lung 1 2 3 4\n", encoding="utf-8")
        printed = succeed("info", tmp_path / name).out
        assert "names of labels" in printed and "left-lung" in printed


def test_a_run_and_its_settings(succeed: Call, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[data]\nindex = "d.json"\n[model]\nkind = "gradicon"\n', encoding="utf-8")
    (tmp_path / "best.safetensors").touch()
    printed = succeed("info", tmp_path).out
    assert "run of nephi train" in printed and "gradicon" in printed and "best.safetensors" in printed
    assert "settings of nephi train" in succeed("info", tmp_path / "config.toml").out


def test_a_dicom_series(succeed: Call, tmp_path: Path) -> None:
    def describe(data: Any, k: int) -> None:
        data.PatientID, data.StudyDate, data.SeriesDescription = "P-17", "20260102", "Thorax 1.0 B30f"
        data.Modality = "CT"

    printed = succeed("info", write_slices(tmp_path / "ct", ramp(), change=describe)).out
    rows = {line.split("  ")[0]: line.strip().split("  ")[-1].strip() for line in printed.splitlines()}
    assert rows["patient"] == "P-17" and rows["date"] == "20260102" and rows["modality"] == "CT"
    assert rows["description"] == "Thorax 1.0 B30f" and rows["type"] == "int16"


def test_settings_need_a_nephi_file(call: Call, flat: Path) -> None:
    outcome = call("info", flat / "fixed.nii.gz", "--settings")
    assert outcome.code == 2 and outcome.out == ""


def test_metadata_of_any_type(call: Call, flat_result: Path, tmp_path: Path) -> None:
    """A .nephi file of another program: no seed, unusual versions, unknown settings."""
    from dataclasses import replace

    from nephi.fields import nephi_bytes

    stored = nephi.fields.read_nephi(flat_result / "transform.nephi")
    path = tmp_path / "odd.nephi"
    about: dict[str, Any]
    for about in ({}, {"versions": 3, "seed": "[bold]x[/bold]"}, {"versions": {"nephi": None}, "threads": [1]}):
        path.write_bytes(nephi_bytes(replace(stored, about=about, settings={"liver": 1})))
        outcome = call("info", path)
        assert (outcome.code, outcome.err) == (0, "")
        assert "96 x 96" in outcome.out
    assert "[bold]x[/bold]" not in outcome.out
    for key in ("parameters", "what"):  # "what" in files of earlier versions
        about = {"model": "1234", "refinement": {"steps": 6, key: "all"}}
        (tmp_path / "refined.nephi").write_bytes(nephi_bytes(replace(stored, about=about)))
        assert "6 steps, all" in call("info", tmp_path / "refined.nephi").out
    outcome = call("info", path, "--settings")
    assert outcome.code == 3 and str(path) in outcome.err and "liver" in outcome.err
