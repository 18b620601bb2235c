"""The command line with every kind of model: `info`, `register --dry-run`, and `predict` of a table with bad rows."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import nephi
from nephi.models import MODELS, write_model

from ..inference.test_every_model import KINDS, case
from ..models.test_models import SMALL
from ..models.translation import TranslationModel
from .conftest import Call

pytestmark = pytest.mark.filterwarnings("ignore:transform. expected folding")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(MODELS, "translation", TranslationModel)
    yield


@pytest.fixture(params=KINDS)
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a model and a pair of 2-D images."""
    own = case(request.param, 2, "fixed")
    write_model(own.stored, tmp_path / "m.safetensors")
    for image in (own.fixed, own.moving):
        nephi.write_image(image, tmp_path / f"{image.name}.nii.gz")
    (tmp_path / "kind").write_text(SMALL[request.param].kind)
    return tmp_path


def test_info_and_plan(files: Path, succeed: Call) -> None:
    model, images = files / "m.safetensors", ["-f", files / "fixed.nii.gz", "-m", files / "moving.nii.gz"]
    stored = nephi.read_model(model)
    printed = " ".join(succeed("info", model).out.split())
    assert f"kind {stored.settings.kind} " in printed and "19 x 14 voxels of 3 x 4 mm" in printed
    plain = [n for n, v in vars(stored.settings).items() if not dataclasses.is_dataclass(v)]
    assert all(f" {name} " in printed for name in plain)
    assert ("predicts a transform and its inverse" in printed) == stored.model.outputs(stored.settings).inverse
    options = [*images, "-o", files / "out", "--model", model, "--device", "cpu", "--dry-run"]
    plain = succeed("register", *options).out
    assert "level 1" not in plain and "parameters" in plain
    assert "level 2" in succeed("register", *options, "--refine", 20).out
    assert (
        "optimised by 20 steps" in succeed("register", *options, "--refine", 20, "--refine-parameters", "network").out
    )
    assert not (files / "out").exists()


def test_a_table_with_bad_rows(files: Path, call: Call, succeed: Call) -> None:
    (files / "text.nii.gz").write_text("not an image")
    flat = nephi.read_image(files / "moving.nii.gz")
    nephi.write_image(nephi.Image(torch.full_like(flat.data, 7), flat.grid), files / "flat.nii.gz")
    volume = nephi.geometry.Grid.from_spacing((6, 5, 4), (2.0, 2.0, 2.0))
    noise = torch.rand(volume.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    nephi.write_image(nephi.Image(noise, volume), files / "volume.nii.gz")
    moving = ["moving", "none", "text", "flat", "volume"]
    rows = [f"{name},fixed.nii.gz,{name}.nii.gz" for name in [*moving, "fixed"]]
    (files / "pairs.csv").write_text("\n".join(["name,fixed,moving", *rows]), encoding="utf-8")
    options = [files / "m.safetensors", files / "pairs.csv", "-o", files / "out", "--device", "cpu"]
    outcome = call("predict", *options, "--save", "transform,report", "-q")
    assert outcome.code == 3 and "Traceback" not in outcome.err
    with (files / "out" / "summary.csv").open(encoding="utf-8") as file:
        errors = {row["pair"]: row["error"] for row in csv.DictReader(file)}
    for name, message in (
        ("moving", ""),
        ("none", "none.nii.gz: no such file"),
        ("text", "text.nii.gz: "),
        ("flat", "flat.nii.gz"),
        ("volume", "3-D"),
        ("fixed", ""),
    ):
        assert message in errors[name] if message else errors[name] == "", errors
        assert "unexpected" not in errors[name] and "\n" not in errors[name]
        assert (files / "out" / name / "transform.nephi").exists() == (not message)
    printed = " ".join(succeed("info", files / "out" / "moving" / "transform.nephi").out.split())
    assert "predicted by model" in printed and "composed of" in printed and "refined no" in printed
    assert call("predict", *options, "--save", "transform,report", "-q").code == 3  # good rows are complete
