"""`nephi register --model`: a prediction instead of a fit."""

import json
import re
import shutil
from pathlib import Path

import pytest

import nephi

from ..models.predictions import model
from .conftest import Call, pair_options, voxels

FILES = ["inverse_warp.nii.gz", "report.html", "report.json", "transform.nephi", "warp.nii.gz", "warped.nii.gz"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models of all kinds, named NAME-DIMENSION.safetensors."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("dense", "steps", "unet"):
        stored = model(name, 2, shape=(28, 28), spacing=(6.0, 6.0))
        nephi.models.write_model(stored, folder / f"{name}-2.safetensors")
    nephi.models.write_model(model("dense", 3), folder / "dense-3.safetensors")
    return folder


@pytest.mark.parametrize("name", ["dense", "steps", "unet"])
def test_results_and_commands(succeed: Call, flat: Path, models: Path, tmp_path: Path, name: str) -> None:
    out, path = tmp_path / "out", tmp_path / "out" / "transform.nephi"
    options = [*pair_options(flat), "-o", out, "--model", models / f"{name}-2.safetensors"]
    printed = succeed("register", *options, "--landmarks", flat / "landmarks.csv", "--device", "cpu").out
    assert sorted(p.name for p in out.iterdir()) == FILES
    assert "prediction and refinement" in printed and "TRE, mean" in printed
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["refinement"] == {"steps": 0, "parameters": "all"} and report["history"] == {}
    assert set(report["usage"]["stages"]) == {"prepare", "predict", "quality", "export"}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "a model predicted the transform, and it was not refined" in page
    assert f"{report['model']}..." in page and "--model" in page
    described = succeed("info", path).out
    composed = {"dense": "fields, affine", "steps": "fields, fields, affine", "unet": "displacement, affine"}
    assert re.search(rf"composed of +{composed[name]} *\n", described) and "refined" in described
    assert report["model"] in described
    assert str(nephi.results.describe_transform(path)["parameters"]) in described
    assert "steps" in succeed("info", path, "--settings").out
    succeed("apply", "-t", path, "-i", flat / "moving.nii.gz", "-r", flat / "fixed.nii.gz", "-o", tmp_path / "w.nii.gz")
    gap = abs(voxels(tmp_path / "w.nii.gz").astype(float) - voxels(out / "warped.nii.gz"))
    assert gap.max() <= 1
    for ends in ([], ["--inverse"]):
        succeed("points", "-t", path, *ends, "-i", flat / "fixed_points.csv", "-o", tmp_path / "points.csv")
    succeed("export", "-t", path, "-r", flat / "fixed.nii.gz", "--format", "itk", "-o", tmp_path / "itk.nii.gz")
    assert (tmp_path / "itk.nii.gz").exists()
    succeed("jacobian", "-t", path, "-r", flat / "fixed.nii.gz", "-o", tmp_path / "j.nii.gz")
    measured = succeed("evaluate", "-t", path, "--landmarks", flat / "landmarks.csv", "--folding").out
    assert "inverse consistency" in measured and ("unrefined inverse" in measured) == (name != "unet")


def test_refinement_reduces_the_error(succeed: Call, flat: Path, models: Path, tmp_path: Path) -> None:
    errors = {}
    for steps, parameters in ((0, None), (80, "codes"), (80, "all")):
        out = tmp_path / f"{steps}{parameters}"
        refine = ["--refine", steps, *(["--refine-parameters", parameters] if parameters else [])]
        options = [*pair_options(flat), "-o", out, "--model", models / "dense-2.safetensors", "--save", "report"]
        succeed("register", *options, *refine, "--landmarks", flat / "landmarks.csv", "--device", "cpu")
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        assert report["refinement"] == {"steps": steps, "parameters": parameters or "all"}
        assert len(report["history"].get("loss", [])) == steps
        errors[steps, parameters] = report["tre_mm"]["mean"]
    assert errors[80, "all"] < 0.6 * errors[0, None]


def test_refinement_of_the_network(succeed: Call, flat: Path, models: Path, tmp_path: Path) -> None:
    path = models / "dense-2.safetensors"
    before, options = path.read_bytes(), [*pair_options(flat), "--model", path, "--device", "cpu"]
    refine = ["--refine", 3, "--refine-parameters", "network", "--refine-rate", 0.001]
    printed = succeed("register", *options, *refine, "-o", tmp_path / "out", "--dry-run").out
    assert "level 1" not in printed and "its weights optimised by 3 steps, learning rate 0.001" in printed
    succeed("register", *options, *refine, "-o", tmp_path / "out", "--save", "transform,report,page")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["refinement"] == {"steps": 3, "parameters": "network", "rate": 0.001}
    assert set(report["history"]) == {"level", "loss", "similarity", "gradicon", "codes"}
    printed = succeed("info", tmp_path / "out" / "transform.nephi").out
    assert "3 steps, network, learning rate 0.001" in printed and path.read_bytes() == before
    succeed("register", *options, *refine, "--similarity", "mind", "-o", tmp_path / "mind", "--save", "transform")
    assert "learning rate 0.001, mind" in succeed("info", tmp_path / "mind" / "transform.nephi").out


def test_the_plan(succeed: Call, flat: Path, models: Path, tmp_path: Path) -> None:
    path = models / "dense-2.safetensors"
    options = [*pair_options(flat), "-o", tmp_path / "out", "--model", path, "--dry-run"]
    printed = succeed("register", *options, "--device", "cpu").out
    assert f"prediction by {path}" in printed and "latent grids" in printed and "level 1" not in printed
    printed = succeed("register", *options, "--refine", 30, "--config", flat / "quick.toml").out
    assert "level 2" in printed and "pooled, 256 points per step" in printed and "affine" not in printed
    assert not (tmp_path / "out").exists()


def test_incompatible_options(call: Call, flat: Path, solid: Path, models: Path, tmp_path: Path) -> None:
    one = [*pair_options(flat), "-o", tmp_path / "out"]
    shutil.copy(flat / "fixed.nii.gz", tmp_path / "model.nii.gz")
    dense = ["--model", models / "dense-2.safetensors"]
    for options, code, message in (
        (["--refine", 3], 2, "--refine: requires --model"),
        ([*dense, "--refine-parameters", "codes"], 2, "--refine-parameters: requires --refine N"),
        (["--refine", 3, "--refine-rate", 0.1], 2, "--refine, --refine-rate: require --model"),
        ([*dense, "--refine", 3, "--refine-rate", 0.1], 2, "--refine-rate: requires --refine-parameters network"),
        ([*dense, "--initial", "none"], 2, "--initial: not available with --model"),
        ([*dense, "--transform", "rigid"], 2, "--transform: not available with --model"),
        (
            ["--model", models / "unet-2.safetensors", "--refine", 3, "--refine-parameters", "codes"],
            2,
            'refine_parameters: expected "all" or "network" for a model that predicts no latent values',
        ),
        (
            ["--model", models / "dense-3.safetensors"],
            3,
            "expected a 3-D image, the dimension of the model, got a 2-D one",
        ),
        (["--model", tmp_path / "none"], 3, "none: no such file; expected a model"),
        (["--model", tmp_path / "model.nii.gz"], 3, "model.nii.gz: not a model"),
    ):
        outcome = call("register", *one, *options)
        assert (outcome.code, outcome.out) == (code, "") and message in outcome.err, options
        assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_renamed_option(call: Call, flat: Path, models: Path, tmp_path: Path) -> None:
    options = ["-o", tmp_path / "out", "--model", models / "dense-2.safetensors", "--refine", 3, "--refine-what", "all"]
    outcome = call("register", *pair_options(flat), *options)
    assert outcome.code == 2 and "--refine-what: renamed to --refine-parameters" in outcome.err
    assert not (tmp_path / "out").exists() and "--refine-what" not in call("register", "--help").out


def test_transform_is_rejected_as_a_model(call: Call, flat: Path, flat_result: Path, tmp_path: Path) -> None:
    options = ["-o", tmp_path / "out", "--model", flat_result / "transform.nephi"]
    outcome = call("register", *pair_options(flat), *options)
    assert outcome.code == 3 and "transform.nephi: a safetensors file, but not a model" in outcome.err


def test_info_of_a_model(succeed: Call, call: Call, models: Path, tmp_path: Path) -> None:
    printed = succeed("info", models / "dense-3.safetensors").out
    assert "dense-3.safetensors: 3-D model" in printed and "24 x 20 x 18 voxels of 3 x 4 x 3.5 mm" in printed
    assert nephi.inference.model_digest(nephi.read_model(models / "dense-3.safetensors")) in printed
    assert "seed" in printed and "percentiles of each image" in printed
    (tmp_path / "other.safetensors").write_bytes(b"x")
    outcome = call("info", tmp_path / "other.safetensors")
    assert outcome.code == 3 and "other.safetensors: not a model" in outcome.err
