"""Whole trainings of a second: files, learning, exact continuation after interruptions, errors."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import nephi
from nephi.errors import DataError, UsageError
from nephi.models import AutoDecoderSettings, DisplacementUNetSettings, read_model, write_model
from nephi.objective import PairBatch
from nephi.training import AugmentationSettings, TrainSettings, WarpSettings
from nephi.training.log import TrainingLog
from nephi.training.pairs import KeyedBatch
from nephi.training.step import Terms, learning_rate

from .conftest import FIELD, rows, with_loop

pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric: pip install nephi[train]")
pytest.importorskip("tensorboard", reason="training needs TensorBoard: pip install nephi[train]")

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which this system cannot")


def models(run: Path) -> list[bytes]:
    return [(run / f"{name}.safetensors").read_bytes() for name in ("best", "last")]


def log(run: Path) -> list[dict[str, float]]:
    """Return the rows of the log without the seconds."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows(run / "log.csv")]


@pytest.fixture(scope="module")
def uninterrupted(settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "uninterrupted"
    nephi.train(settings, run)
    return run


def test_files_of_a_run(settings: TrainSettings, uninterrupted: Path) -> None:
    assert nephi.training.read_train_settings(uninterrupted / "config.toml") == settings
    lines = log(uninterrupted)
    assert [row["step"] for row in lines] == list(range(1, 13))
    assert [row["rate"] for row in lines] == pytest.approx([learning_rate(k, settings.optimization) for k in range(12)])
    for row in lines:
        assert row["loss"] == pytest.approx(row["similarity"] + row["gradicon"] + row["codes"], rel=1e-6)
    validated = rows(uninterrupted / "validation.csv")
    assert [row["step"] for row in validated] == [0, 4, 8, 12]
    assert validated[0]["dice"] == validated[0]["dice_before"] and validated[0]["folding_percent"] == 0
    assert validated[0]["tre_mm"] == validated[0]["tre_before_mm"] == pytest.approx(3 * 2**0.5)
    model = read_model(uninterrupted / "last.safetensors")
    assert (model.settings, model.input, model.objective) == (settings.model, settings.input, settings.objective)
    assert model.about["step"] == 12 and model.about["data"] == "shapes"
    best = read_model(uninterrupted / "best.safetensors").about
    assert best["validation"]["dice"] == pytest.approx(max(row["dice"] for row in validated))


def test_tensorboard_has_curves_and_figures(uninterrupted: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(uninterrupted / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == list(range(1, 13))
    assert [event.step for event in board.Scalars("validation/dice")] == [0, 4, 8, 12]
    (picture, *_) = board.Images("validation/s4--s5")
    assert (picture.width, picture.height) == (5 * 26, 24)


@pytest.mark.parametrize("kind", ["nephi", "unet"])
def test_the_similarity_improves(settings: TrainSettings, tmp_path: Path, kind: str) -> None:
    settings = with_loop(settings, steps=60, rate=5e-3, batch=4, validation_interval=60, checkpoint_interval=60)
    if kind == "unet":
        objective = replace(settings.objective, gradicon=0.0, codes=0.0, diffusion=0.1)
        settings = replace(settings, model=DisplacementUNetSettings((4, 4)), objective=objective)
    settings = replace(settings, augmentation=AugmentationSettings())
    nephi.train(settings, tmp_path / "run")
    lines = log(tmp_path / "run")
    first, last = (sum(row["similarity"] for row in part) for part in (lines[:10], lines[-10:]))
    assert last < 0.9 * first


def test_the_step_size_is_used(settings: TrainSettings, tmp_path: Path) -> None:
    """Adam's first step changes each weight by the step size, for any gradient."""
    weights = []
    for rate in (0.01, 1e-12):  # the second changes nothing
        found = nephi.train(with_loop(settings, steps=1, rate=rate, clip=0.0), tmp_path / f"{rate}")
        weights.append(torch.cat([p.detach().flatten() for p in read_model(found.last).model.parameters()]))
    assert float((weights[0] - weights[1]).abs().max()) == pytest.approx(0.01, rel=1e-3)


def test_the_best_model_without_labels_or_validation(settings: TrainSettings, tmp_path: Path) -> None:
    """Without labels and landmarks the similarity ranks models; without a split `val` there is no best one."""
    index = nephi.datasets.read_dataset_index(settings.data.index)
    images = tuple(replace(image, labels=None) for image in index.images)
    folder = tmp_path / "data"
    (folder).mkdir()
    (folder / "images").symlink_to(Path(settings.data.index) / "images")
    splits = {"train": index.splits["train"], "val": nephi.datasets.DatasetSplit(("s4", "s5"), "between-subjects")}
    nephi.datasets.write_dataset_index(nephi.datasets.DatasetIndex("bare", 2, images, splits), folder)
    settings = with_loop(replace(settings, data=replace(settings.data, index=str(folder))), steps=2)
    found = nephi.train(settings, tmp_path / "run")
    assert found.finished and found.best == tmp_path / "run" / "best.safetensors"
    measures = {"ncc", "ncc_before", "folding_percent", "log_jacobian_sd", "inverse_error_mm", "inverse_error_max_mm"}
    assert set(rows(tmp_path / "run" / "validation.csv")[0]) == {"step", *measures}
    nephi.datasets.write_dataset_index(
        nephi.datasets.DatasetIndex("bare", 2, images, {"train": splits["train"]}), folder
    )
    assert nephi.train(settings, tmp_path / "other").best is None
    assert not (tmp_path / "other" / "best.safetensors").exists()


def test_accumulated_batches_equal_a_larger_one(settings: TrainSettings, tmp_path: Path) -> None:
    found = []
    for name, batch, accumulate in (("whole", 4, 1), ("parts", 1, 4)):
        nephi.train(with_loop(settings, batch=batch, accumulate=accumulate, steps=6), tmp_path / name)
        found.append(log(tmp_path / name))
    for one, other in zip(*found, strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-7)


def test_workers_do_not_change_the_model(settings: TrainSettings, uninterrupted: Path, tmp_path: Path) -> None:
    nephi.train(with_loop(settings, workers=2, cache=0), tmp_path / "run")
    assert models(tmp_path / "run") == models(uninterrupted)


def train_in_a_group(settings: TrainSettings, run: Path, resume: bool) -> None:
    """Train in a process that can be killed with its workers."""
    os.setsid()
    nephi.train(settings, run, resume=resume)


def logged(run: Path) -> int:
    """Return the number of steps in the log of a run."""
    path = run / "log.csv"
    return path.read_text(encoding="utf-8").count("\n") - 1 if path.exists() else 0


@needs_fork
@pytest.mark.parametrize("workers", [0, 1])
def test_a_killed_run_continues_bit_for_bit(
    settings: TrainSettings, uninterrupted: Path, tmp_path: Path, workers: int
) -> None:
    run = tmp_path / "run"
    settings = with_loop(settings, workers=workers)
    context = multiprocessing.get_context("fork")
    kills = 0
    for steps in (1, 4, 6, 8, 3, 10):  # of 12; counts that are reached already kill it while it starts
        process = context.Process(target=train_in_a_group, args=(settings, run, run.exists()))
        process.start()
        while process.is_alive() and not ((run / "config.toml").exists() and logged(run) >= steps):
            time.sleep(0.001)
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills >= 3
    assert nephi.train(settings, run, resume=True).finished
    assert models(run) == models(uninterrupted)
    assert log(run) == log(uninterrupted)
    assert (run / "validation.csv").read_bytes() == (uninterrupted / "validation.csv").read_bytes()


@pytest.mark.parametrize("moment", ["best", "last", "state", "log"])
def test_killed_between_two_files(
    settings: TrainSettings, uninterrupted: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Model, state and log are the same, whichever file was written last."""
    run, left = tmp_path / "run", {"best": 1, "last": 2, "state": 2, "log": 8}[moment]

    def failing(before: Callable[..., Any], named: str) -> Callable[..., Any]:
        def act(*arguments: Any, **others: Any) -> Any:
            nonlocal left
            if any(named == (each.stem if isinstance(each, Path) else each) for each in arguments):
                left -= 1
                if left == 0:
                    raise RuntimeError("power cut")
            return before(*arguments, **others)

        return act

    with monkeypatch.context() as patched:
        for name in ("write_model", "save_state"):
            module = "nephi.training.loop"
            patched.setattr(f"{module}.{name}", failing(getattr(__import__(module, fromlist=[name]), name), moment))
        patched.setattr(TrainingLog, "add", failing(TrainingLog.add, moment))
        with pytest.raises(RuntimeError, match="power cut"):
            nephi.train(settings, run)
    nephi.train(settings, run, resume=True)
    assert models(run) == models(uninterrupted) and log(run) == log(uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_the_state(
    settings: TrainSettings, uninterrupted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)

    def interrupt(progress: nephi.optimize.Progress) -> None:
        if progress.step == 5:
            signal.raise_signal(number)

    found = nephi.train(settings, tmp_path / "run", progress=interrupt)
    assert (found.steps, found.finished) == (5, False)
    assert read_model(found.last).about["step"] == 5
    assert signal.getsignal(number) is before
    assert nephi.train(settings, tmp_path / "run", resume=True).finished
    assert models(tmp_path / "run") == models(uninterrupted) and log(tmp_path / "run") == log(uninterrupted)


def test_resuming_a_finished_run_changes_nothing(settings: TrainSettings, uninterrupted: Path) -> None:
    before = {path: path.read_bytes() for path in uninterrupted.iterdir() if path.is_file()}
    assert nephi.train(settings, uninterrupted, resume=True).finished
    assert {path: path.read_bytes() for path in uninterrupted.iterdir() if path.is_file()} == before


def with_nan(before: Callable[[Terms, KeyedBatch], dict[str, Tensor]], step: int, position: int) -> Callable[..., Any]:
    """Return a forward pass whose loss is NaN for batches with one sample."""

    def forward(self: Terms, batch: KeyedBatch) -> dict[str, Tensor]:
        terms = before(self, batch)
        factor = torch.nan if (step, position) in batch.keys else 1.0
        return {name: term * factor for name, term in terms.items()}

    return forward


def test_a_loss_that_is_not_finite_is_an_error(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = with_loop(settings, accumulate=2)
    monkeypatch.setattr(Terms, "forward", with_nan(Terms.forward, 7, 3))
    with pytest.raises(DataError, match=r"step 8: expected a finite loss, got nan, with the pairs") as caught:
        nephi.train(settings, tmp_path / "run")
    from nephi.training.cache import ModelInputCache
    from nephi.training.pairs import TrainingPairs
    from nephi.training.seeding import SampleKey

    index = nephi.datasets.read_dataset_index(settings.data.index)
    pairs = TrainingPairs(index, settings, ModelInputCache(index, settings.input, 0))
    named = [pairs.pair(SampleKey(7, k)) for k in (2, 3)]  # the pairs of the second batch of two
    assert f"with the pairs {', '.join(f'{p.fixed}--{p.moving}' for p in named)}; the last" in str(caught.value)
    assert read_model(tmp_path / "run" / "last.safetensors").about["step"] == 6
    monkeypatch.undo()
    assert nephi.train(settings, tmp_path / "run", resume=True).finished


def test_fine_tuning_starts_from_a_model(settings: TrainSettings, uninterrupted: Path, tmp_path: Path) -> None:
    path = uninterrupted / "last.safetensors"
    before = path.read_bytes()
    model = read_model(path)
    found = nephi.train(with_loop(settings, steps=1, rate=1e-12), tmp_path / "run", model=model)
    weights = [read_model(each).model.state_dict() for each in (path, found.last)]
    assert all(torch.allclose(tensor, weights[1][name], atol=1e-10) for name, tensor in weights[0].items())
    settings = with_loop(settings, seed=1)
    nephi.train(settings, tmp_path / "other", model=model)
    assert path.read_bytes() == before and model.about["step"] == 12
    write_model(model, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == before
    other = read_model(found.last)
    with pytest.raises(UsageError, match="model: the run was started from another model"):
        nephi.train(settings, tmp_path / "other", model=other, resume=True)


def test_mixed_precision_does_not_affect_the_loss(settings: TrainSettings, tmp_path: Path) -> None:
    """Positions and intensities have full precision; the loss differs by the rounding of the encoder alone."""
    found = []
    for precision in ("32", "bf16-mixed"):
        changed = with_loop(settings, precision=precision, steps=4)
        assert nephi.train(changed, tmp_path / precision).finished
        found.append([row["similarity"] for row in log(tmp_path / precision)])
    assert found[0] != found[1]
    assert found[1] == pytest.approx(found[0], rel=2e-3)


def test_an_auto_decoder_is_resumed_exactly(settings: TrainSettings, tmp_path: Path) -> None:
    count = len(nephi.datasets.read_dataset_index(settings.data.index).pairs("train"))
    decoder = AutoDecoderSettings(pairs=count, field=FIELD)
    with pytest.raises(
        UsageError,
        match=r"augmentation\.flip: expected none, as model\.kind = 'auto-decoder' has parameters of each pair",
    ):
        nephi.train(replace(settings, model=decoder, augmentation=AugmentationSettings(flip=True)), tmp_path / "other")
    with pytest.raises(UsageError, match=r"augmentation\.both\.scale: expected none"):
        both = AugmentationSettings(both=WarpSettings(scale=0.1))
        nephi.train(replace(settings, model=decoder, augmentation=both), tmp_path / "other")
    settings = with_loop(replace(settings, model=decoder, augmentation=AugmentationSettings(gamma=0.2)), steps=6)
    whole = nephi.train(settings, tmp_path / "whole")

    def interrupt(progress: nephi.optimize.Progress) -> None:
        if progress.step == 4:
            signal.raise_signal(signal.SIGTERM)

    assert nephi.train(settings, tmp_path / "run", progress=interrupt).steps == 4
    found = nephi.train(settings, tmp_path / "run", resume=True)
    assert found.last.read_bytes() == whole.last.read_bytes()
    with pytest.raises(UsageError, match=f"model.pairs: expected {count}, the pairs of the split train, got 3"):
        nephi.train(replace(settings, model=replace(decoder, pairs=3)), tmp_path / "other")


def test_points_lie_in_masks(settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[PairBatch] = []
    monkeypatch.setattr(Terms, "forward", recorded(Terms.forward, seen))
    frame = replace(settings.input, mask="foreground", outside_mask="dark", centre="mask")
    settings = with_loop(replace(settings, input=frame), steps=2)
    assert nephi.train(settings, tmp_path / "run").finished
    for batch in seen:
        assert batch.fixed_mask is not None and batch.moving_mask is not None
        assert batch.fixed_mask.shape == batch.fixed.shape and bool(batch.fixed_mask.any())
        assert bool(batch.fixed[batch.fixed_mask > 0].mean() > batch.fixed[batch.fixed_mask == 0].mean())


def recorded(before: Callable[[Terms, KeyedBatch], dict[str, Tensor]], seen: list[PairBatch]) -> Callable[..., Any]:
    """Return a forward pass that appends its batches to a list."""

    def forward(self: Terms, batch: KeyedBatch) -> dict[str, Tensor]:
        seen.append(batch.pairs)
        return before(self, batch)

    return forward


def test_an_auto_decoder_is_fine_tuned_on_other_pairs(settings: TrainSettings, shapes: Path, tmp_path: Path) -> None:
    """Its decoders are kept; the latent values are those of the new data set's pairs."""
    decoder = AutoDecoderSettings(field=FIELD)
    settings = with_loop(replace(settings, model=decoder, augmentation=AugmentationSettings()), steps=2)
    model = read_model(nephi.train(settings, tmp_path / "run").last)
    index = nephi.datasets.read_dataset_index(shapes)
    pairs = tuple(index.pairs("train")[:2])
    fewer = replace(index, splits={"train": replace(index.split("train"), pairs=pairs)})
    nephi.datasets.write_dataset_index(fewer, shapes / "fewer.json")
    (tmp_path / "c.toml").write_text(
        f'[data]\nindex = "{shapes / "fewer.json"}"\n[optimization]\nsteps = 1\nworkers = 0\n'
    )
    found = nephi.train(nephi.training.read_train_settings(tmp_path / "c.toml", model), tmp_path / "other", model=model)
    assert read_model(found.last).settings.pairs == 2
