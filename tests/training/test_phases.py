"""Phases of a training: other objectives and fewer steps, resumed exactly; models that grow."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

import nephi
from nephi.errors import UsageError
from nephi.models import DisplacementUNetSettings, NephiSettings, read_model
from nephi.training import PhaseSettings, TrainSettings, read_train_settings
from nephi.training.checks import check_model
from nephi.training.settings_file import train_settings

from .conftest import rows, with_loop

pytest.importorskip("lightning_fabric", reason="training needs Lightning Fabric: pip install nephi[train]")
pytest.importorskip("tensorboard", reason="training needs TensorBoard: pip install nephi[train]")

PHASES = (
    PhaseSettings(3, network_steps=1, objective={"gradicon": 0.0, "diffusion": 1.0}),
    PhaseSettings(4, frozen_steps=1),
)


@pytest.fixture(scope="module")
def stepwise(settings: TrainSettings) -> TrainSettings:
    """Ten steps: three of the first network, four of the second with the first frozen, three of both."""
    model = settings.model
    assert isinstance(model, NephiSettings)
    settings = replace(settings, model=replace(model, downsampling=(2, 1)))
    return replace(with_loop(settings, steps=10, checkpoint_interval=100, log_interval=2), phases=PHASES)


@pytest.fixture(scope="module")
def whole(stepwise: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    nephi.train(stepwise, run)
    return run


def weights(path: Path) -> list[dict[str, Tensor]]:
    """Return the trained weights of both steps of a model file."""
    parameters = {name: p for name, p in read_model(path).model.named_parameters() if p.requires_grad}
    return [{n: p for n, p in parameters.items() if f".steps.{k}." in n} for k in range(2)]


def interrupted(settings: TrainSettings, run: Path, step: int) -> None:
    def interrupt(progress: nephi.optimize.Progress) -> None:
        if progress.step == step:
            signal.raise_signal(signal.SIGTERM)

    result = nephi.train(settings, run, resume=run.exists(), progress=interrupt)
    assert result.steps == step and not result.finished


def test_a_training_is_resumed_exactly_across_phases(stepwise: TrainSettings, whole: Path, tmp_path: Path) -> None:
    """Interrupted at the end of the first phase, and within the second."""
    run = tmp_path / "run"
    for step in (3, 5):
        interrupted(stepwise, run, step)
    assert nephi.train(stepwise, run, resume=True).finished
    for name in ("last.safetensors", "best.safetensors"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    for name in ("log.csv", "validation.csv"):
        tables = [[{**row, "seconds": 0} for row in rows(folder / name)] for folder in (run, whole)]
        assert tables[0] == tables[1]


def test_a_phase_trains_its_steps_only(stepwise: TrainSettings, whole: Path, tmp_path: Path) -> None:
    run, found = tmp_path / "run", []
    for step in (3, 7):
        interrupted(stepwise, run, step)
        found.append(weights(run / "last.safetensors"))
    found.append(weights(whole / "last.safetensors"))
    nephi.train(with_loop(replace(stepwise, phases=()), steps=1, rate=1e-12), tmp_path / "initial")
    found.insert(0, weights(tmp_path / "initial" / "last.safetensors"))

    def changed(number: int) -> list[bool]:
        """Return after which phases the weights of a step differ from those before."""
        pairs = pairwise(found)
        return [
            any(not torch.allclose(a[number][n], b[number][n], rtol=0, atol=1e-9) for n in a[number]) for a, b in pairs
        ]

    assert changed(0) == [True, False, True]
    assert changed(1) == [False, True, True]


def test_the_log_has_the_terms_of_every_phase(whole: Path) -> None:
    lines = rows(whole / "log.csv")
    assert [(row["step"], row["phase"]) for row in lines] == [(2, 1), (3, 1), (4, 2), (6, 2), (7, 2), (8, 3), (10, 3)]
    for row in lines:
        assert ("diffusion" in row, "gradicon" in row) == (row["phase"] == 1, row["phase"] > 1)
        terms = [row[name] for name in ("similarity", "gradicon", "diffusion", "codes") if name in row]
        assert row["loss"] == pytest.approx(sum(terms), rel=1e-6)


def test_labels_are_compared_in_a_phase_only(settings: TrainSettings, tmp_path: Path) -> None:
    """With one labelled pair among others, and maps that grow; the batch is larger than the number of pairs."""
    index = nephi.datasets.read_dataset_index(settings.data.index)
    kept = tuple(replace(i, labels=i.labels if i.id in ("s0", "s1", "s5", "s6") else None) for i in index.images)
    subjects = ("s0", "s1", "s2")
    train = nephi.datasets.DatasetSplit(subjects, "between-subjects")
    for name in ("images", "labels"):
        (tmp_path / name).symlink_to(Path(settings.data.index) / name)
    nephi.datasets.write_dataset_index(replace(index, images=kept, splits={"train": train}), tmp_path)
    phase = PhaseSettings(2, objective={"dice": 1.0, "similarity_weight": 0.0})
    settings = replace(settings, augmentation=replace(settings.augmentation, ramp=0.5, rotation=180.0, images="moving"))
    settings = replace(settings, data=replace(settings.data, index=str(tmp_path)), phases=(phase,))
    nephi.train(with_loop(settings, steps=4, batch=8), tmp_path / "run")
    found = rows(tmp_path / "run" / "log.csv")
    assert ["dice" in row for row in found] == ["similarity" not in row for row in found] == [True] * 2 + [False] * 2
    assert all(0 < row["dice"] < 0.5 for row in found[:2])


def test_steps_not_in_use_yet_are_the_identity(stepwise: TrainSettings, tmp_path: Path) -> None:
    """The stored model, all of whose steps are used, is the one that was validated."""
    interrupted(stepwise, tmp_path / "run", 3)
    model = read_model(tmp_path / "run" / "last.safetensors").model
    generator = torch.Generator().manual_seed(0)
    fixed, moving = torch.rand(2, 1, 1, *model.grid.shape, generator=generator, dtype=torch.float32)
    points = model.grid.voxel_centres().reshape(1, -1, 2).float()
    whole = model(fixed, moving).forward(points)
    model.use_steps(1)
    torch.testing.assert_close(model(fixed, moving).forward(points), whole, atol=1e-5, rtol=0)
    assert not torch.allclose(whole, points, atol=1e-4)


def test_a_shorter_model_is_continued_by_a_longer_one(
    stepwise: TrainSettings, settings: TrainSettings, tmp_path: Path
) -> None:
    shorter = replace(settings, model=replace(stepwise.model, downsampling=(2,)))
    start = nephi.train(with_loop(shorter, steps=3), tmp_path / "short").last
    stored = read_model(start)
    text = (
        f'[data]\nindex = "{settings.data.index}"\n[optimization]\nsteps = 1\nrate = 1e-12\nworkers = 0\nthreads = 1\n'
    )
    (tmp_path / "c.toml").write_text(text + "[model]\ndownsampling = [2, 1]\n")
    longer = read_train_settings(tmp_path / "c.toml", stored)
    model = read_model(nephi.train(longer, tmp_path / "long", model=stored).last).model
    for name, parameter in stored.model.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), parameter, atol=1e-9, rtol=0)
    assert {n for n, _ in stored.model.named_parameters()} < {n for n, _ in model.named_parameters()}
    for wrong in ({"downsampling": [1, 1]}, {"downsampling": [4, 2, 1]}, {"field": {"hidden": 9}}):
        with pytest.raises(UsageError, match=r"^model\.(downsampling|field\.hidden): the model has .*; leave it out"):
            check_model(train_settings({"model": wrong}, stored), stored)
    with pytest.raises(UsageError, match=r"^model\.downsampling: the model has \[2, 1\], the configuration \[2\]"):
        check_model(shorter, read_model(tmp_path / "long" / "last.safetensors"))


def test_a_phase_leaves_no_trained_step_out(stepwise: TrainSettings, tmp_path: Path) -> None:
    phases = (PhaseSettings(2, network_steps=2), PhaseSettings(2, network_steps=1))
    with pytest.raises(UsageError, match=r"^phases\[1\]: network_steps: expected 0 or at least the 2 steps of the pha"):
        nephi.train(replace(stepwise, phases=phases), tmp_path / "run")
    stored = read_model(nephi.train(with_loop(replace(stepwise, phases=()), steps=1), tmp_path / "start").last)
    with pytest.raises(UsageError, match=r"^phases\[0\]: network_steps: .* the 2 steps of the model to fine-tune, got"):
        nephi.train(replace(stepwise, phases=phases[1:]), tmp_path / "run", model=stored)
    assert not (tmp_path / "run").exists()


Change = Callable[[TrainSettings], TrainSettings]


def with_unet(settings: TrainSettings) -> TrainSettings:
    objective = replace(settings.objective, gradicon=0.0, codes=0.0)
    phase = PhaseSettings(1, network_steps=1)
    return replace(settings, model=DisplacementUNetSettings((4, 4)), objective=objective, phases=(phase,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            with_unet,
            r"phases\[0\]: network_steps: expected 0 for DisplacementUNet, which has no composed steps, got 1",
        ),
        (
            lambda s: replace(s, phases=(PhaseSettings(1), PhaseSettings(1, objective={"velocity": 1.0}))),
            r"phases\[1\]: objective\.velocity: expected 0 for model\.kind = 'nephi' \(no velocity field\), got 1\.0",
        ),
        (
            lambda s: replace(s, phases=(PhaseSettings(1, network_steps=3),)),
            r"phases\[0\]: network_steps: expected 0 to 2, the steps of the model, got 3; .* phases = \[\] above .*",
        ),
        (
            lambda s: replace(s, phases=(PhaseSettings(1, network_steps=1, frozen_steps=1),)),
            r"phases\[0\]: frozen_steps: expected 0 to 0, fewer than the steps in use, got 1",
        ),
    ],
)
def test_phases_that_the_model_cannot_train(
    stepwise: TrainSettings, tmp_path: Path, change: Change, message: str
) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        nephi.train(change(stepwise), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("phases = 3", "phases: expected a list of tables, got 3"),
        ("[phases]\nsteps = 1", "phases: expected a list of tables, got {'steps': 1}"),
        ("[[phases]]", r"phases\.steps: expected 1 or more, got 0"),
        ("[[phases]]\nsteps = 20000", "phases: expected at most optimization.steps = 10000 steps in all, got 20000"),
        ("[[phases]]\nsteps = 1\nepochs = 1", r"phases\[0\]\.epochs: unknown setting; expected one of phases\[0\]\.st"),
        ("[[phases]]\nsteps = 1\nnetwork_steps = -1", r"phases\.network_steps: expected 0 or more, got -1"),
        ("[[phases]]\nsteps = 1\nobjective = 3", r"phases\[0\]\.objective: expected a table, got 3"),
        ("[[phases]]\nsteps = 1\n[phases.objective]\nx = 3", r"phases\[0\]: objective\.x: unknown setting"),
        ("[[phases]]\nsteps = 1\nobjective.icon = 'a'", r"phases\[0\]: objective\.icon: expected a number, got 'a'"),
        ("[[phases]]\nsteps = 1\nobjective.icon = -1", r"phases\[0\]: objective\.icon: expected 0 or more, got -1"),
    ],
)
def test_errors_name_the_phase(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.toml").write_text(
        f'{text}\n[data]\nindex = "d"\n' if text[0] == "p" else f"data.index = 'd'\n{text}"
    )
    with pytest.raises(UsageError, match=f"c.toml: {message}"):
        read_train_settings(tmp_path / "c.toml")


def test_phases_are_read_as_they_were_written(stepwise: TrainSettings, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(nephi.training.train_settings_toml(stepwise))
    found = read_train_settings(tmp_path / "c.toml")
    assert found == stepwise
    assert [objective.diffusion for objective in found.objectives] == [1.0, 0.0, 0.0]
    assert [found.phase_number(step) for step in (0, 2, 3, 6, 7, 100)] == [0, 0, 1, 1, 2, 2]
