"""`--align` of `nephi register --model` and `nephi predict`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

import nephi
from nephi.models import (
    DisplacementUNetSettings,
    InputSettings,
    KeyMorphSettings,
    ModelSettings,
    StoredModel,
    build_model,
    input_grid,
    write_model,
)
from nephi.phantoms import silhouettes
from nephi.settings import TrainingObjectiveSettings

from .conftest import Call

BOX = InputSettings((24, 24), (1.0, 1.0), window=(0.0, 1.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shapes, a volume, an untrained model with keypoints and one without."""
    pictures, _ = silhouettes(2, torch.Generator().manual_seed(3), 24)
    grid = nephi.Grid.from_spacing((24, 24), (1.0, 1.0))
    for name, picture in zip("ab", pictures, strict=True):
        nephi.write_image(nephi.Image(picture, grid), tmp_path / f"{name}.nii.gz")
    volume = torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    nephi.write_image(nephi.Image(volume, nephi.Grid.from_spacing((8, 8, 8), (1.0, 1.0, 1.0))), tmp_path / "v.nii.gz")
    kinds: dict[str, ModelSettings] = {
        "keypoints": KeyMorphSettings(keypoints=8, filters=(4, 8)),
        "unet": DisplacementUNetSettings((4, 8)),
    }
    for name, settings in kinds.items():
        model = build_model(settings, input_grid(BOX), torch.Generator().manual_seed(0)).eval()
        objective = TrainingObjectiveSettings(gradicon=0.0, codes=0.0)
        write_model(StoredModel(model, BOX, objective), tmp_path / f"{name}.safetensors")
    return tmp_path


def test_the_first_alignment_is_the_result(folder: Path, succeed: Call) -> None:
    images = ("-f", folder / "a.nii.gz", "-m", folder / "b.nii.gz")
    model = ("--model", folder / "keypoints.safetensors", "--align", "rigid,tps:0.1", "--device", "cpu")
    printed = succeed("register", *images, *model, "-o", folder / "out", "--save", "transform,report").out
    assert "asymmetry of rigid" in printed and "asymmetry of tps:0.1" in printed
    first, other = (
        json.loads((path / "report.json").read_text(encoding="utf-8"))
        for path in (folder / "out", folder / "out" / "tps-0.1")
    )
    assert (first["align"], other["align"]) == ("rigid", "tps:0.1")
    assert first["asymmetry_mm"] == other["asymmetry_mm"] and first["asymmetry_mm"]["rigid"] < 1e-5
    rigid = nephi.read_transform(folder / "out" / "transform.nephi")
    _, jacobian = rigid.value_and_jacobian(torch.zeros(1, 2, dtype=torch.float64))
    torch.testing.assert_close(jacobian[0] @ jacobian[0].T, torch.eye(2, dtype=torch.float64), atol=1e-5, rtol=0)
    assert nephi.read_transform(folder / "out" / "tps-0.1" / "transform.nephi").dimension == 2


def test_predict_aligns_every_pair(folder: Path, succeed: Call, call: Call) -> None:
    (folder / "pairs.csv").write_text("name,fixed,moving\np,a.nii.gz,b.nii.gz\n")
    arguments = ("predict", folder / "keypoints.safetensors", folder / "pairs.csv", "-o", folder / "out")
    options = ("--save", "transform,report", "--device", "cpu")
    succeed(*arguments, *options, "--align", "affine,rigid")
    assert {path.name for path in (folder / "out" / "p").iterdir()} == {"rigid", "transform.nephi", "report.json"}
    succeed(*arguments, *options, "--align", "affine,rigid")  # kept
    outcome = call(*arguments, *options, "--align", "rigid")
    assert outcome.code == 3 and "contains results with aligned ['affine', 'rigid'], not ['rigid']" in outcome.err
    with (folder / "out" / "summary.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 1


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("unet", ("--align", "rigid"), '--align: expected a model with keypoints, got kind = "unet"'),
        ("keypoints", ("--align", "rigid,bent"), "--align: expected rigid, similarity, affine, halfway, or tps:"),
        ("keypoints", ("--align", "rigid", "--refine", "5"), "--refine: not available with --align"),
        (None, ("--align", "rigid"), "--align: requires --model, a model with keypoints"),
    ],
)
def test_unusable_alignments_are_one_line(
    folder: Path, call: Call, model: str | None, options: tuple[str, ...], message: str
) -> None:
    chosen = () if model is None else ("--model", folder / f"{model}.safetensors")
    images = ("-f", folder / "a.nii.gz", "-m", folder / "b.nii.gz")
    outcome = call("register", *images, *chosen, *options, "-o", folder / "out")
    assert outcome.code == 2 and outcome.err.startswith(f"nephi: error: {message}") and outcome.err.count("\n") == 1
    assert not (folder / "out").exists()


def test_weights_of_another_dimension_are_one_line(folder: Path, call: Call) -> None:
    volumes = ("-f", folder / "v.nii.gz", "-m", folder / "v.nii.gz")
    model = ("--model", folder / "keypoints.safetensors", "--align", "rigid")
    outcome = call("register", *volumes, *model, "-o", folder / "out")
    assert outcome.code == 3 and "2-D" in outcome.err and "3-D" in outcome.err and outcome.err.count("\n") == 1
    assert not (folder / "out").exists()


def test_register_group_writes_the_common_frame(folder: Path, succeed: Call) -> None:
    arguments = ("register-group", folder / "keypoints.safetensors", folder / "a.nii.gz", folder / "b.nii.gz")
    printed = succeed(*arguments, "-o", folder / "out", "--reference", folder / "a.nii.gz", "--device", "cpu").out
    assert "keypoints from the mean, after" in printed
    assert {path.name for path in (folder / "out").iterdir()} == {"a", "b", "mean.nii.gz", "group.json"}
    assert nephi.read_image(folder / "out" / "mean.nii.gz").grid.same_as(nephi.read_image(folder / "a.nii.gz").grid)


@pytest.mark.parametrize(
    ("model", "images", "options", "code", "message"),
    [
        ("unet", ("a", "b"), (), 2, 'model: expected a model with keypoints, got kind = "unet"'),
        ("keypoints", ("a",), (), 2, "images: expected at least two to register as a group, got 1"),
        ("keypoints", ("a", "v"), (), 3, "v.nii.gz: expected a 2-D image, the dimension of the model, got a 3-D one"),
        ("keypoints", ("a", "b"), ("--align", "bent"), 2, "align: expected rigid, similarity, affine"),
        (
            "keypoints",
            ("a", "b"),
            ("--mask", "m.nii"),
            2,
            "--mask: expected none, or 2, one for each image in",
        ),
        (
            "keypoints",
            ("a", "b"),
            ("--mask", "m.nii", "--mask", "n.nii"),
            2,
            "--mask: expected none for a model with",
        ),
        ("keypoints", ("a", "nowhere"), (), 3, "nowhere.nii.gz: no such file"),
    ],
)
def test_unusable_groups_are_one_line(
    folder: Path, call: Call, model: str, images: tuple[str, ...], options: tuple[str, ...], code: int, message: str
) -> None:
    paths = [folder / f"{name}.nii.gz" for name in images]
    outcome = call("register-group", folder / f"{model}.safetensors", *paths, *options, "-o", folder / "out")
    assert outcome.code == code and message in outcome.err and outcome.err.count("\n") == 1
    assert not (folder / "out").exists()
