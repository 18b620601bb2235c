"""Training a model on a data set."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nephi.argument_types import checked
from nephi.datasets import DatasetIndex
from nephi.errors import NephiError, UsageError
from nephi.geometry import gradients_recorded
from nephi.io import write_text
from nephi.models import RegistrationModel, StoredModel, build_model, input_grid, model_tensors
from nephi.optimize import ProgressCallback, ignore_progress
from nephi.runtime import cpu_threads, versions
from nephi.training.cache import ModelInputCache
from nephi.training.checkpoint import Counters, SavedState, read_state, restore
from nephi.training.checks import check_augmentation, check_model, check_objective, check_phases, check_windows
from nephi.training.data_checks import check_labels, check_landmark_files, checked_index, with_training_pairs
from nephi.training.fabric import disconnect_at_exit, is_first_process, make_fabric, require_extra
from nephi.training.folder import RunFolder
from nephi.training.identity import check_identity, run_identity
from nephi.training.interruption import interruption
from nephi.training.log import TrainingLog
from nephi.training.loop import Training
from nephi.training.pairs import TrainingPairs
from nephi.training.reference_points import check_reference
from nephi.training.seeding import generator_of
from nephi.training.settings import TrainSettings
from nephi.training.settings_file import result_settings, train_settings_toml
from nephi.training.step import Stepper

if TYPE_CHECKING:
    from lightning_fabric import Fabric


RECORDED = ("augmentation", "optimization", "phases")  # tables of the settings that a model file keeps beside its own


@dataclass(frozen=True)
class TrainingResult:
    """Result of a training: `steps` done of those `planned`, and the step of the `best` validation, if there was one.

    `last` and `best` are model files; `best` is None without a split `val`.
    """

    folder: Path
    steps: int
    planned: int
    last: Path
    best: Path | None
    best_step: int

    @property
    def finished(self) -> bool:
        """Whether all steps are done; otherwise it was interrupted, and can be resumed."""
        return self.steps == self.planned


@checked
@gradients_recorded()
def train(
    settings: TrainSettings,
    output: str | Path,
    *,
    model: StoredModel | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    devices: int = 1,
    progress: ProgressCallback = ignore_progress,
) -> TrainingResult:
    """Train a model on the split `train` of a data set, from random weights or those of `model`, and write the run.

    The folder `output` then contains the models `last.safetensors` (of the last checkpoint) and `best.safetensors` (of
    the best validation), `state.safetensors` (from which the run is resumed), `log.csv`, `validation.csv`,
    `tensorboard/` and `config.toml`. With `resume` a run continues from its last checkpoint; on a CPU the result equals
    that of an uninterrupted run bit for bit. SIGINT and SIGTERM save the state and end the training.

    `device` is auto, cpu or cuda[:N]; `devices` processes are started on this machine. Under torchrun, on one machine
    or several, the number of processes is that of torchrun.

    Raises `UsageError` and `DataError` before the first step for settings that contradict each other or
    the model, an index that names missing files or has no pairs, a folder with other files, a run that was started with
    other settings; later for images that cannot be read, and for a loss that is not finite.
    """
    require_extra()
    if resume and overwrite:
        raise UsageError("resume, overwrite: expected at most one of them, got both")
    folder = RunFolder(Path(output))
    if is_first_process():  # the others might find what it has written already
        folder.check(resume=resume, overwrite=overwrite)
    settings, index, trained = checked_training(settings, model)
    fabric = make_fabric(settings.optimization, device, devices)
    fabric.launch()
    with cpu_threads(settings.optimization.threads):
        run = run_identity(settings, index, model, fabric.world_size)
        saved = _prepare_folder(fabric, folder, settings, run, resume=resume, overwrite=overwrite)
        training = _assemble(fabric, settings, folder, index, trained, run, saved)
        if training.counters.step < settings.optimization.steps:
            _train(training, progress)
    disconnect_at_exit()
    counters = training.counters
    best = None if counters.best is None else folder.best
    return TrainingResult(
        folder.path, counters.step, settings.optimization.steps, folder.last, best, counters.best_step
    )


class CheckedTraining(NamedTuple):
    """The settings of a training that can start, with the number of pairs; its data, and its model before step 1."""

    settings: TrainSettings
    data: DatasetIndex
    model: RegistrationModel[Any]


def checked_training(
    settings: TrainSettings, start: StoredModel | None = None, checked: DatasetIndex | None = None
) -> CheckedTraining:
    """Validate settings, data and model of a training, before anything is computed or written.

    `checked` is the index if it has been validated for the same `settings.input`, so that the headers of its images are
    not read again. Other arguments and errors are those of `train`.
    """
    if start is not None:
        check_model(settings, start)
    check_objective(settings)
    check_windows(settings)
    index = checked or checked_index(settings)
    settings = with_training_pairs(settings, index)
    check_labels(settings, index)
    check_landmark_files(settings, index)
    check_reference(settings, index)
    model = _initial_model(settings, start)
    check_phases(settings, model, start)
    check_augmentation(settings, model)
    return CheckedTraining(settings, index, model)


def _prepare_folder(
    fabric: Fabric, folder: RunFolder, settings: TrainSettings, run: dict[str, Any], *, resume: bool, overwrite: bool
) -> SavedState | None:
    """Prepare the folder in the first process, and return the state that is resumed in all processes."""
    problem: NephiError | None = None
    if fabric.is_global_zero:
        try:
            folder.prepare(resume=resume, overwrite=overwrite)
            if resume and folder.state.exists():
                check_identity(read_state(folder.state).run, run)
            write_text(folder.config, train_settings_toml(settings))
        except NephiError as error:
            problem = error
    problem = fabric.broadcast(problem)
    if problem is not None:
        raise problem
    return read_state(folder.state) if resume and folder.state.exists() else None


def _assemble(
    fabric: Fabric,
    settings: TrainSettings,
    folder: RunFolder,
    index: DatasetIndex,
    model: RegistrationModel[Any],
    run: dict[str, Any],
    saved: SavedState | None,
) -> Training:
    stepper = Stepper(fabric, model, settings)
    counters = Counters()
    if saved is not None:
        restore(saved, model, stepper.optimizer)
        fabric.strategy.precision.load_state_dict(saved.scaler)
        counters = saved.counters
    # Each worker has a cache; without workers, the training process has one.
    cache_bytes = settings.optimization.cache * 1e6 / (settings.optimization.workers + 1)
    pairs = TrainingPairs(index, settings, ModelInputCache(index, settings.input, cache_bytes))
    about = {
        "versions": versions(),
        "data": index.name,
        "settings": {name: table for name, table in result_settings(settings).items() if name in RECORDED},
        "processes": fabric.world_size,
        "start": run["start"],
    }
    return Training(fabric, settings, folder, index, stepper, pairs, counters, run, about)


def _initial_model(settings: TrainSettings, start: StoredModel | None) -> RegistrationModel[Any]:
    """Build the model, with random weights or those of the model to fine-tune."""
    generator = generator_of("weights", settings.optimization.seed)
    model = build_model(settings.model, input_grid(settings.input), generator, settings.input.outside)
    if start is not None:
        omitted = start.model.pair_parameters()  # of the pairs of another data set
        tensors = {name: tensor for name, tensor in model_tensors(start.model).items() if name not in omitted}
        # The rest is predicted, or belongs to single pairs or to further composed steps.
        model.load_state_dict(tensors, strict=False)
    return model.train()


def _train(training: Training, progress: ProgressCallback) -> None:
    counters = training.counters
    with ExitStack() as stack:
        interrupted = stack.enter_context(interruption())
        log = None
        if training.fabric.is_global_zero:
            log = TrainingLog(training.folder.path, counters.log_bytes, counters.step)
            stack.callback(log.close)
        training.train(log, interrupted, progress)
