"""The state of a training in one file, so that its parts are always of the same step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from nephi.errors import DataError
from nephi.fields import TensorFile
from nephi.io import replacing, write_durably
from nephi.models import RegistrationModel, load_tensors, model_tensors
from nephi.tables import short_repr

FILE = TensorFile("nephi-training", (2,), "training's state", "nephi train", "start a new run")
MODEL, OPTIMIZER = "model.", "optimizer."
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of torch.optim.Adam


@dataclass
class Counters:
    """The progress of a training.

    started: whether the validation before the first step is done. step: number of steps done. best, best_step: the best
    score of a validation (larger is better; None before the first), and its step. sums, summed: sums of the log's
    columns since its last row, and the number of steps in them. log_bytes: lengths of the tables of the log. seconds:
    duration of the steps.
    """

    started: bool = False
    step: int = 0
    best: float | None = None
    best_step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0
    log_bytes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class SavedState:
    """Content of a state file; `run` identifies the run, `scaler` is the loss scaler's state for mixed precision."""

    counters: Counters
    run: dict[str, Any]
    scaler: dict[str, Any]
    tensors: dict[str, Tensor]


def save_state(
    path: Path,
    counters: Counters,
    run: dict[str, Any],
    scaler: dict[str, Any],
    model: RegistrationModel[Any],
    optimizer: Optimizer,
) -> None:
    """Write the state, whole or not at all. Raises `DataError` naming the file when it cannot be written."""
    tensors = {MODEL + name: tensor for name, tensor in model_tensors(model).items()}
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            tensors[f"{OPTIMIZER}{number}.{name}"] = value.detach().cpu().contiguous()
    header = {"counters": asdict(counters), "run": run, "scaler": scaler}
    with replacing(path) as temporary:
        write_durably(temporary, FILE.to_bytes(header, tensors))


def read_state(path: Path) -> SavedState:
    """Read a state. Raises `DataError` when it is missing, damaged, or of another version."""
    header, tensors = FILE.read(path)
    try:
        counters = Counters(**header["counters"])
        _check_counters(counters)
        return SavedState(counters, dict(header["run"]), dict(header["scaler"]), tensors)
    except (DataError, LookupError, TypeError, ValueError) as error:
        raise FILE.damaged(path, error) from None


def restore(saved: SavedState, model: RegistrationModel[Any], optimizer: Optimizer) -> None:
    """Load the saved weights and moments. Raises `DataError` when they are of another model."""
    weights = {name.removeprefix(MODEL): t for name, t in saved.tensors.items() if name.startswith(MODEL)}
    try:
        load_tensors(model, weights)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        moments = _moments(saved.tensors, parameters)
        if saved.counters.step and not moments:
            raise DataError("it holds no moments of the optimizer")
    except DataError as error:
        raise DataError(f"state.safetensors: {error}; start a new run") from None
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def _moments(tensors: Mapping[str, Tensor], parameters: Sequence[Tensor]) -> dict[int, dict[str, Tensor]]:
    """Return Adam's moments by the number of their parameter; raise `DataError` for those that do not fit it."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if not name.startswith(OPTIMIZER):
            continue
        number, _, key = name.removeprefix(OPTIMIZER).partition(".")
        if not (number.isdecimal() and int(number) < len(parameters) and key in MOMENTS):
            raise DataError(f"{name[:80]} belongs to no parameter of the model")
        shape = () if key == "step" else tuple(parameters[int(number)].shape)
        if tuple(tensor.shape) != shape:
            raise DataError(f"{name} has the shape {tuple(tensor.shape)}, its parameter {shape}")
        moments.setdefault(int(number), {})[key] = tensor
    for index, values in moments.items():
        if len(values) < len(MOMENTS):
            raise DataError(f"{OPTIMIZER}{index} has only {', '.join(values)}")
    return moments


def _check_counters(counters: Counters) -> None:
    """Raise `DataError` naming the first counter of another type than a training writes, or below 0."""
    for name in ("step", "best_step", "summed", "seconds"):
        value = getattr(counters, name)
        if not isinstance(value, int | float) or not 0 <= value < 2**53 or (name != "seconds" and value != int(value)):
            raise DataError(f"counters.{name} is {short_repr(value)}")
    if counters.best is not None and not isinstance(counters.best, int | float):
        raise DataError(f"counters.best is {short_repr(counters.best)}")
    for name in ("sums", "log_bytes"):
        values = getattr(counters, name)
        if not isinstance(values, dict) or not all(isinstance(value, int | float) for value in values.values()):
            raise DataError(f"counters.{name} is {short_repr(values)}")
