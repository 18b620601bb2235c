"""`nephi train` and `nephi finetune`: options and errors; tests/training tests the trainings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import nephi
from nephi.models import (
    EncoderSettings,
    InputSettings,
    NephiSettings,
    StoredModel,
    build_model,
    input_grid,
    write_model,
)
from nephi.settings import TrainingObjectiveSettings

from .conftest import Call

ONE_STEP = '[data]\nindex = "data"\n[optimization]\nsteps = 1\nworkers = 0\nthreads = 1\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of noise without a validation split, a configuration, and a model."""
    (tmp_path / "data").mkdir()
    grid = nephi.Grid.from_spacing((16, 16), (1.0, 1.0))
    for name in ("a", "b"):
        noise = torch.rand(16, 16, generator=torch.Generator().manual_seed(ord(name)))
        nephi.write_image(nephi.Image(noise, grid), tmp_path / "data" / f"{name}.nii.gz")
    images = tuple(nephi.datasets.DatasetImage(name, name, f"{name}.nii.gz") for name in ("a", "b"))
    split = nephi.datasets.DatasetSplit(("a", "b"), "between-subjects")
    nephi.datasets.write_dataset_index(
        nephi.datasets.DatasetIndex("noise", 2, images, {"train": split}), tmp_path / "data"
    )
    (tmp_path / "c.toml").write_text(ONE_STEP)
    settings, box = NephiSettings(encoder=EncoderSettings((4,))), InputSettings((16, 16), (1.0, 1.0))
    model = build_model(settings, input_grid(box), torch.Generator().manual_seed(0))
    write_model(StoredModel(model, box, TrainingObjectiveSettings(points=50)), tmp_path / "m.safetensors")
    return tmp_path


def test_finetune_trains_from_a_model(folder: Path, succeed: Call) -> None:
    pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric: pip install nephi[train]")
    pytest.importorskip("tensorboard", reason="training needs TensorBoard: pip install nephi[train]")
    arguments = ("finetune", folder / "m.safetensors", folder / "c.toml", "-o", folder / "run", "--device", "cpu")
    printed = succeed(*arguments).out
    assert "Trained" in printed and "1 of 1" in printed and "best model" not in printed
    assert nephi.read_model(folder / "run" / "last.safetensors").about["step"] == 1
    assert "Trained" in succeed(*arguments, "--resume").out
    assert succeed(*arguments, "--overwrite", "--quiet").out == ""


@pytest.mark.parametrize(
    ("config", "code", "message"),
    [
        ("[optimization]\nstep = 1\n", 2, "c.toml: optimization.step: unknown setting; expected one of"),
        ("", 2, "c.toml: data.index: expected the path of a data set's index"),
        (ONE_STEP.replace('"data"', '"nowhere"'), 3, "nowhere: no such file; expected a data set's index"),
        (ONE_STEP + "[input]\nspacing = [2.0, 2.0]\n", 2, "input.spacing: the model has [1.0, 1.0], the configuration"),
    ],
)
def test_errors_are_one_line(folder: Path, call: Call, config: str, code: int, message: str) -> None:
    pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric: pip install nephi[train]")
    (folder / "c.toml").write_text(config)
    outcome = call("finetune", folder / "m.safetensors", folder / "c.toml", "-o", folder / "run")
    assert outcome.code == code and outcome.err.startswith("nephi: error: ") and message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (folder / "run").exists()


def test_a_preset_needs_no_configuration(folder: Path, call: Call, succeed: Call) -> None:
    listed = succeed("train", "--list-presets").out
    assert all(f"{name} " in listed and title in listed for name, title in nephi.training.training_presets().items())
    train = ("train", "-o", folder / "run")
    outcome = call(*train)
    assert outcome.code == 2 and "CONFIG.toml, --preset: expected at least one of them, got none" in outcome.err
    outcome = call(*train, "--preset", "gradicon")
    assert outcome.code == 2 and "preset gradicon: data.index: expected the path" in outcome.err
    outcome = call(*train, "--preset", "syn", "--data", folder / "data")
    assert outcome.code == 2 and "preset: expected one of" in outcome.err
    assert call("train", "--preset", "unet", "--data", folder / "data", "-o", folder).code == 3
    pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric: pip install nephi[train]")
    outcome = call(*train, "--preset", "gradicon", "--data", folder / "data")  # images are 2-D, the input is not
    assert outcome.code == 2 and "input.shape: expected 2 numbers" in outcome.err


def test_invalid_model_is_rejected(folder: Path, call: Call) -> None:
    outcome = call("finetune", folder / "c.toml", folder / "c.toml", "-o", folder / "run")
    assert outcome.code == 3 and "c.toml: not a model, or cut short" in outcome.err


def test_missing_extra_is_named(folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nephi.training.fabric.REQUIRED", ("fabric_that_is_not_there",))
    outcome = call("train", folder / "c.toml", "-o", folder / "run")
    assert outcome.code == 2 and outcome.err.endswith("which are not installed: pip install nephi[train]\n")


def test_inputs_inside_the_run_are_rejected(folder: Path, call: Call) -> None:
    """--overwrite deletes the files of an earlier run, among them would be the model."""
    model = folder / "m.safetensors"
    before = model.read_bytes()
    outcome = call("finetune", model, folder / "c.toml", "-o", folder, "--overwrite")
    assert outcome.code == 3 and "-o: expected a folder that does not contain the input" in outcome.err
    assert call("train", folder / "c.toml", "-o", folder, "--overwrite").code == 3
    assert model.read_bytes() == before and (folder / "c.toml").is_file()
