"""A model that is registered by a test trains, is validated, predicts, is refined, stored and read as any other.

Nothing of nephi is changed for it: `tests/models/translation.py` is its file, and the fixture its line in `MODELS`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import nephi
from nephi.cli.main import main
from nephi.errors import UsageError
from nephi.fields import AffineStep, FieldStep
from nephi.inference import Refinement, plan_prediction
from nephi.models import MODELS, StoredModel, read_model, write_model
from nephi.training import read_train_settings

from .translation import TranslationModel, TranslationSettings

pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric: pip install nephi[train]")
pytest.importorskip("tensorboard", reason="training needs TensorBoard: pip install nephi[train]")

SHAPE, SPACING = (28, 24), (2.0, 2.5)
CONFIG = """\
[data]
index = "data"

[input]
shape = [28, 24]
spacing = [2.0, 2.5]
window = [0.0, 1.0]

[model]
kind = "translation"
power = 2.0

[optimization]
steps = 60
batch = 4
rate = 0.05
workers = 0
threads = 1
validation_interval = 30
checkpoint_interval = 30
pictures = 1
"""


@dataclass(frozen=True)
class Run:
    """A folder with a data set and a trained model in `run`, and two of its images with their centres, mm."""

    folder: Path
    fixed: Path
    moving: Path
    motion: torch.Tensor

    @property
    def model(self) -> Path:
        return self.folder / "run" / "last.safetensors"


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setitem(MODELS, "translation", TranslationModel)
    yield


def call(*arguments: Any) -> None:
    """Run a command of `nephi` in this process, which has to succeed."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Write discs at random positions, train the model on them by the command line, and return both."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "data").mkdir()
    grid = nephi.Grid.from_spacing(SHAPE, SPACING, (100.0, -40.0))
    generator = torch.Generator().manual_seed(0)
    centres = grid.centre_world() + 8 * (2 * torch.rand(8, 2, generator=generator, dtype=torch.float64) - 1)
    for k, centre in enumerate(centres):
        distances = (grid.voxel_centres() - centre).norm(dim=-1)
        nephi.write_image(nephi.Image(torch.sigmoid((9 - distances) / 2).float(), grid), folder / f"data/s{k}.nii.gz")
        labels = nephi.Image((distances < 9).to(torch.uint8), grid)
        nephi.write_image(labels, folder / f"data/l{k}.nii.gz")
    images = tuple(
        nephi.datasets.DatasetImage(f"s{k}", f"s{k}", f"s{k}.nii.gz", labels=f"l{k}.nii.gz") for k in range(8)
    )
    splits = {
        "train": nephi.datasets.DatasetSplit(tuple(f"s{k}" for k in range(5)), "between-subjects"),
        "val": nephi.datasets.DatasetSplit(tuple(f"s{k}" for k in range(5, 8)), "between-subjects"),
    }
    nephi.datasets.write_dataset_index(nephi.datasets.DatasetIndex("discs", 2, images, splits), folder / "data")
    (folder / "c.toml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setitem(MODELS, "translation", TranslationModel)
        call("train", folder / "c.toml", "-o", folder / "run", "--quiet")
    paths = [folder / "data" / f"s{k}.nii.gz" for k in (5, 6)]
    return Run(folder, paths[0], paths[1], centres[6] - centres[5])


def test_it_trains_and_is_validated(run: Run) -> None:
    with (run.folder / "run" / "validation.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    assert [row["step"] for row in rows] == [0, 30, 60]
    assert rows[0]["dice"] == rows[0]["dice_before"] and rows[-1]["dice"] > 0.9 > rows[0]["dice"]
    assert rows[-1]["folding_percent"] == 0 and rows[-1]["inverse_error_max_mm"] < 1e-3
    assert (run.folder / "run" / "best.safetensors").is_file()


def test_a_run_is_resumed_and_fine_tuned(run: Run) -> None:
    call("train", run.folder / "c.toml", "-o", run.folder / "run", "--resume", "--quiet")
    text = '[data]\nindex = "data"\n[optimization]\nsteps = 2\nworkers = 0\n'
    (run.folder / "tuned.toml").write_text(text)
    settings = read_train_settings(run.folder / "tuned.toml", read_model(run.model))
    assert settings.model == TranslationSettings(2.0) and settings.objective == TranslationModel.default_objective
    call("finetune", run.model, run.folder / "tuned.toml", "-o", run.folder / "tuned", "--quiet")


def test_it_is_stored_and_read(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = read_model(run.model)
    assert isinstance(stored, StoredModel) and stored.settings == TranslationSettings(2.0)
    write_model(stored, tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == run.model.read_bytes()
    call("info", run.model)
    printed = capsys.readouterr().out
    assert "translation" in printed and "2-D model" in printed


def test_its_prediction_is_an_affine_transform(run: Run, tmp_path: Path) -> None:
    result = nephi.predict(run.fixed, run.moving, model=run.model, device="cpu")
    point = torch.tensor([[120.0, -20.0]], dtype=torch.float64)
    moved = result.transform(point)
    torch.testing.assert_close(moved - point, run.motion[None], atol=1.0, rtol=0)
    torch.testing.assert_close(result.inverse(moved), point, atol=1e-3, rtol=0)
    result.save(tmp_path / "result")
    again = nephi.read_transform(tmp_path / "result" / "transform.nephi")
    torch.testing.assert_close(again(point), moved, atol=1e-4, rtol=0)
    kinds = {type(step) for step in nephi.fields.read_nephi(tmp_path / "result" / "transform.nephi").steps}
    assert kinds <= {AffineStep}


def test_the_command_line_predicts_with_it(run: Run, tmp_path: Path) -> None:
    call("register", "-f", run.fixed, "-m", run.moving, "--model", run.model, "-o", tmp_path / "result", "--quiet")
    call("info", tmp_path / "result" / "transform.nephi")
    transform, warped_file = tmp_path / "result" / "transform.nephi", tmp_path / "warped.nii.gz"
    call("apply", "-t", transform, "-i", run.moving, "-r", run.fixed, "-o", warped_file)
    warped, fixed = nephi.read_image(warped_file), nephi.read_image(run.fixed)
    assert float((warped.data.float() - fixed.data.float()).abs().mean()) < 0.05


def test_its_prediction_is_refined_as_fields(run: Run) -> None:
    refined = nephi.predict(run.fixed, run.moving, model=run.model, refinement=Refinement(10), device="cpu")
    assert any(isinstance(step, FieldStep) for step in refined.stored.steps)
    point = torch.tensor([[120.0, -20.0]], dtype=torch.float64)
    torch.testing.assert_close(refined.transform(point) - point, run.motion[None], atol=2.5, rtol=0)
    with pytest.raises(
        UsageError, match='refine_parameters: expected "all" or "network" for a model that predicts no latent values'
    ):
        nephi.predict(run.fixed, run.moving, model=run.model, refinement=Refinement(10, "codes"))


def test_the_plan_has_its_sizes(run: Run) -> None:
    plan = plan_prediction(run.fixed, run.moving, model=run.model, device="cpu")
    assert plan.parameters == 6 and plan.lattices == () and plan.levels == ()


def test_weights_that_it_cannot_use_are_refused(run: Run) -> None:
    (run.folder / "codes.toml").write_text(CONFIG + "\n[objective]\ncodes = 0.1\n")
    settings = read_train_settings(run.folder / "codes.toml")
    with pytest.raises(UsageError, match=r"objective\.codes: expected 0 for model\.kind = 'translation' \(no latent"):
        nephi.train(settings, run.folder / "codes")
