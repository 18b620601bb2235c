"""The state of a training in one file, so that its parts are always of the same step."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from nephi.errors import DataError
from nephi.fields import TensorFile
from nephi.io import replacing, write_durably
from nephi.models import RegistrationModel, load_tensors, model_tensors

FILE = TensorFile("nephi-training", (2,), "training's state", "nephi train", "start a new run")
MODEL, OPTIMIZER = "model.", "optimizer."


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
        return SavedState(counters, dict(header["run"]), dict(header["scaler"]), tensors)
    except (LookupError, TypeError, ValueError) as error:
        raise FILE.damaged(path, error) from None


def restore(saved: SavedState, model: RegistrationModel[Any], optimizer: Optimizer) -> None:
    """Load the saved weights and moments. Raises `DataError` when they are of another model."""
    weights = {name.removeprefix(MODEL): t for name, t in saved.tensors.items() if name.startswith(MODEL)}
    try:
        load_tensors(model, weights)
    except DataError as error:
        raise DataError(f"state.safetensors: {error}; start a new run") from None
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in saved.tensors.items():
        if name.startswith(OPTIMIZER):
            number, key = name.removeprefix(OPTIMIZER).split(".")
            moments.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
