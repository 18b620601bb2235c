"""Errors in settings and data: one line, before anything is trained or written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import nephi
from nephi.errors import DataError, NephiError, UsageError
from nephi.models import DisplacementUNetSettings, InputSettings
from nephi.training import PhaseSettings, TrainSettings, checkpoint, fabric

from .conftest import with_loop

pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric: pip install nephi[train]")
pytest.importorskip("tensorboard", reason="training needs TensorBoard: pip install nephi[train]")

Refuse = Callable[..., None]


@pytest.fixture
def copy(settings: TrainSettings, tmp_path: Path) -> Path:
    """Return a copy of the data set that a test may damage."""
    shutil.copytree(settings.data.index, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def on_copy(settings: TrainSettings, copy: Path) -> TrainSettings:
    return replace(settings, data=replace(settings.data, index=str(copy)))


@pytest.fixture
def refuse(tmp_path: Path) -> Refuse:
    """Return a check that a training raises an error with a message in one line, and writes nothing."""

    def check(settings: TrainSettings, kind: type[NephiError], message: str, **options: Any) -> None:
        with pytest.raises(kind, match=message) as caught:
            nephi.train(settings, tmp_path / "run", **options)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()

    return check


def test_weights_that_the_model_cannot_use(settings: TrainSettings, refuse: Refuse) -> None:
    unet = replace(settings, model=DisplacementUNetSettings((4, 4)))
    refuse(unet, UsageError, r"^objective.gradicon: expected 0 for model.kind = 'unet' \(no inverse map\), got 0.3$")
    objective = replace(settings.objective, gradicon=0.0)
    refuse(replace(unet, objective=objective), UsageError, "^objective.codes: expected 0 .*no latent values")


def test_labels_that_the_data_set_does_not_have(on_copy: TrainSettings, copy: Path, refuse: Refuse) -> None:
    """Also in a phase only; labels of a single image are not enough."""
    index = nephi.datasets.read_dataset_index(copy)
    images = tuple(replace(image, labels=image.labels if image.id == "s0" else None) for image in index.images)
    nephi.datasets.write_dataset_index(replace(index, images=images), copy)
    message = r"objective\.dice: expected 0, as no pair of the split train has a label that both images contain, got 1"
    refuse(replace(on_copy, objective=replace(on_copy.objective, dice=1.0)), UsageError, f"^{message}")
    refuse(
        replace(on_copy, phases=(PhaseSettings(1, objective={"dice": 1.0}),)), UsageError, rf"^phases\[0\]: {message}"
    )


def test_labels_of_other_structures(on_copy: TrainSettings, copy: Path, refuse: Refuse) -> None:
    """Every image has labels of its own: nothing would be learned from them."""
    for k in range(4):
        path = copy / "labels" / f"s{k}.nii.gz"
        labels = nephi.read_image(path)
        nephi.write_image(labels.with_data(labels.data * (k + 1)), path)
    settings = replace(on_copy, objective=replace(on_copy.objective, dice=1.0))
    refuse(settings, UsageError, r"^objective\.dice: expected 0, as no pair of the split train has a label that both")


@pytest.mark.parametrize("window", [0.49, 24.1])
def test_windows_within_a_voxel_or_beyond_the_box(settings: TrainSettings, refuse: Refuse, window: float) -> None:
    objective = replace(settings.objective, window=window, similarity="lncc")
    message = f"objective.window: expected 0.5 to 24 mm, half a voxel to the edge of the box of .input., got {window}$"
    refuse(replace(settings, objective=objective), UsageError, f"^{message}")
    phase = PhaseSettings(1, objective={"window": window, "similarity": "lncc"})
    refuse(replace(settings, phases=(phase,)), UsageError, rf"^phases\[0\]: {message}")


def test_unsuitable_labels_are_named(on_copy: TrainSettings, copy: Path, refuse: Refuse) -> None:
    image = nephi.read_image(copy / "images" / "s0.nii.gz")
    for name in ("s0", "s1", "s2", "s3"):
        nephi.write_image(image, copy / "labels" / f"{name}.nii.gz")
    settings = replace(on_copy, objective=replace(on_copy.objective, dice=1.0))
    refuse(settings, DataError, r"labels/s\d\.nii\.gz: expected whole numbers of 0 or more as labels")


def test_missing_files(on_copy: TrainSettings, copy: Path, refuse: Refuse) -> None:
    (copy / "images" / "s2.nii.gz").unlink()
    refuse(on_copy, DataError, r"images\[2\].image: no file images/s2.nii.gz in the folder of the index")
    (copy / "dataset.json").unlink()
    refuse(on_copy, DataError, "no such file; expected a data set's index")


@pytest.mark.parametrize("folder", ["images", "labels"])
def test_an_image_of_another_dimension(on_copy: TrainSettings, copy: Path, refuse: Refuse, folder: str) -> None:
    grid = nephi.Grid.from_spacing((4, 4, 4), (1.0, 1.0, 1.0))
    nephi.write_image(nephi.Image(torch.rand(4, 4, 4), grid), copy / folder / "s5.nii.gz")
    refuse(on_copy, DataError, f"{folder}/s5.nii.gz: expected a 2-D image, as in the index, got a 3-D one")


def test_missing_and_empty_splits(on_copy: TrainSettings, copy: Path, refuse: Refuse) -> None:
    index = nephi.datasets.read_dataset_index(copy)
    nephi.datasets.write_dataset_index(replace(index, splits={"val": index.splits["val"]}), copy)
    refuse(on_copy, DataError, "expected a split train, got val; add one")
    table = json.loads((copy / "dataset.json").read_text(encoding="utf-8"))
    table["splits"]["val"]["pairs"] = []
    (copy / "dataset.json").write_text(json.dumps(table))
    refuse(on_copy, DataError, r"splits\.val: expected at least one pair, found none")


def test_an_input_of_another_dimension(settings: TrainSettings, refuse: Refuse) -> None:
    settings = replace(settings, input=InputSettings((8, 8, 8), (1.0, 1.0, 1.0)))
    refuse(settings, UsageError, "input.shape: expected 2 numbers, as the data set 'shapes' is 2-D, got")


def test_missing_masks(settings: TrainSettings, refuse: Refuse) -> None:
    settings = replace(settings, input=replace(settings.input, mask="given"))
    refuse(settings, DataError, "the image 's0' has no mask, for input.mask")


def test_settings_that_contradict_each_other(settings: TrainSettings, refuse: Refuse) -> None:
    refuse(settings, UsageError, "expected at most one of them, got both", resume=True, overwrite=True)
    refuse(with_loop(settings, precision="16-mixed"), UsageError, '"16-mixed" needs a GPU', device="cpu")
    refuse(settings, UsageError, "device: expected auto, cpu, cuda or cuda:N, got 'tpu'", device="tpu")
    refuse(settings, DataError, "expected a run with a config.toml, got none", resume=True)
    refuse(replace(settings, data=replace(settings.data, index="")), UsageError, "data.index: expected the path")


def test_missing_packages_are_named(settings: TrainSettings, refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fabric, "REQUIRED", ("lightning_fabric", "tensorboard_that_is_not_there"))
    refuse(settings, UsageError, r"tensorboard_that_is_not_there, which are not installed: pip install nephi\[train\]")


def test_a_damaged_image(on_copy: TrainSettings, copy: Path, tmp_path: Path) -> None:
    """It is named when it is read, without a traceback of the worker that reads it."""
    path = copy / "images" / "s1.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    for workers in (0, 1):
        with pytest.raises(DataError, match=r"s1\.nii\.gz: ") as caught:
            nephi.train(with_loop(on_copy, workers=workers, steps=40), tmp_path / "run", overwrite=True)
        assert "\n" not in str(caught.value)


def test_a_folder_with_other_files(settings: TrainSettings, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years")
    with pytest.raises(DataError, match="the folder is not empty; --resume continues its run, --overwrite starts"):
        nephi.train(settings, tmp_path / "run")
    missing = replace(settings, data=replace(settings.data, index=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="the folder is not empty"):  # before any data are read
        nephi.train(missing, tmp_path / "run")
    assert nephi.train(with_loop(settings, steps=1), tmp_path / "run", overwrite=True).finished
    assert (tmp_path / "run" / "thesis.txt").read_text(encoding="utf-8") == "years"


def test_a_run_is_resumed_with_equal_settings_and_data_only(on_copy: TrainSettings, copy: Path, tmp_path: Path) -> None:
    settings = with_loop(on_copy, steps=2)
    run = tmp_path / "run"
    nephi.train(settings, run)
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}

    def refuse(changed: TrainSettings, kind: type[NephiError], message: str) -> None:
        with pytest.raises(kind, match=message):
            nephi.train(changed, run, resume=True)
        assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before

    refuse(
        with_loop(settings, rate=0.5),
        UsageError,
        r"optimization\.rate: the run was started with 0.001, the configuration has 0.5; change it back",
    )
    field = replace(settings.model.field, spacings=(6.0,))
    refuse(
        replace(settings, model=replace(settings.model, field=field)),
        UsageError,
        r"model\.field\.spacings: the run was started with \[12.0, 6.0\], the configuration has \[6.0\]",
    )
    index = nephi.datasets.read_dataset_index(copy)
    nephi.datasets.write_dataset_index(replace(index, name="others"), copy)
    refuse(settings, UsageError, "data.index: the run was started with another data set")
    nephi.datasets.write_dataset_index(index, copy)
    assert nephi.train(with_loop(settings, workers=1, cache=0), run, resume=True).finished
    header, tensors = checkpoint.FILE.read(run / "state.safetensors")
    (run / "state.safetensors").write_bytes(checkpoint.FILE.to_bytes(header | {"version": 1}, tensors))
    with pytest.raises(DataError, match="state of version 1, this nephi reads 2; start a new run"):
        nephi.train(settings, run, resume=True)
    (run / "state.safetensors").write_bytes(before[run / "state.safetensors"][:-9])
    with pytest.raises(DataError, match=r"state\.safetensors: not a training's state, or cut short .*; start a new"):
        nephi.train(settings, run, resume=True)


def test_landmarks_of_another_dimension(on_copy: TrainSettings, copy: Path, refuse: Refuse) -> None:
    table = json.loads((copy / "dataset.json").read_text(encoding="utf-8"))
    (copy / "p.csv").write_text("id,fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\na,1,2,3,4,5,6\n")
    subjects = table["splits"]["train"]["subjects"][:2]
    table["splits"]["train"] = {
        "subjects": subjects,
        "pairs": [{"fixed": subjects[0], "moving": subjects[1], "landmarks": "p.csv"}],
    }
    (copy / "dataset.json").write_text(json.dumps(table))
    with_landmarks = replace(on_copy, objective=replace(on_copy.objective, landmarks=1.0))
    refuse(with_landmarks, DataError, "expected 2-D points, as in the index, got 3-D")


def test_augmentation_too_large_to_compute(settings: TrainSettings, refuse: Refuse) -> None:
    fine = replace(settings, augmentation=replace(settings.augmentation, elastic_spacing=1e-6))
    refuse(fine, UsageError, r"^augmentation\.elastic_spacing: expected 0\.125 or more, an eighth of a voxel")
    for name in ("gamma", "scale"):
        with pytest.raises(UsageError, match=rf"^augmentation\.{name}: expected at most 10, got 1000\.0"):
            replace(settings.augmentation, **{name: 1000.0})


def test_a_step_of_more_pairs_or_threads_than_a_machine_has(settings: TrainSettings) -> None:
    for name in ("batch", "threads", "workers", "steps", "rate"):
        with pytest.raises(UsageError, match=rf"^optimization\.{name}: expected at most"):
            with_loop(settings, **{name: 10**16})


def test_an_edited_state_is_refused(settings: TrainSettings, tmp_path: Path) -> None:
    settings, run = with_loop(settings, steps=2), tmp_path / "run"
    nephi.train(settings, run)
    header, tensors = checkpoint.FILE.read(run / "state.safetensors")
    moment = next(name for name in tensors if name.endswith(".exp_avg"))

    def refuse(message: str, counters: dict[str, Any], changed: dict[str, torch.Tensor | None]) -> None:
        edited = {**header, "counters": {**header["counters"], **counters}}
        kept = {name: tensor for name, tensor in {**tensors, **changed}.items() if tensor is not None}
        data = checkpoint.FILE.to_bytes({k: v for k, v in edited.items() if k not in ("format", "version")}, kept)
        (run / "state.safetensors").write_bytes(data)
        with pytest.raises(DataError, match=rf"state\.safetensors: .*{message}.*; start a new run$") as caught:
            nephi.train(settings, run, resume=True)
        assert "\n" not in str(caught.value)

    for name, value in (
        ("step", -5),
        ("step", "x"),
        ("step", None),
        ("best", "x"),
        ("sums", 3),
        ("log_bytes", {"a": []}),
    ):
        refuse(rf"counters\.{name} is ", {name: value}, {})
    one = torch.zeros(1, dtype=torch.float32)
    for name in ("optimizer.x.y", "optimizer.1.2.3", "optimizer.999.exp_avg"):
        refuse("belongs to no parameter of the model", {}, {name: one})
    refuse(r"has the shape \(7,\)", {}, {moment: torch.zeros(7, dtype=torch.float32)})
    refuse("has only step, exp_avg_sq|has only exp_avg_sq, step", {}, {moment: None})
    refuse("no moments of the optimizer", {}, {name: None for name in tensors if name.startswith("optimizer.")})
