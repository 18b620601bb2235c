"""What a training needs to go on exactly where it was, in one file: there is no moment at which its parts disagree."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from nephi.errors import DataError
from nephi.io import replacing, write_durably
from nephi.learning.model import System
from nephi.learning.model_file import model_tensors

FORMAT = "nephi-training"
VERSION = 1
MODEL, OPTIMIZER = "model.", "optimizer."


@dataclass
class Counters:
    """How far a training is.

    begun: whether the first validation is done. step: steps done. best, best_step: the best score of a validation so
    far (the larger the better; None before the first), and its step. sums, summed: of the log's columns since its last
    row, over so many steps. log_bytes: lengths of the tables of the log. seconds: spent on it.
    """

    begun: bool = False
    step: int = 0
    best: float | None = None
    best_step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0
    log_bytes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class SavedState:
    """Content of a state file: `run` tells which run it is of, `scaler` is of mixed precision."""

    counters: Counters
    run: dict[str, Any]
    scaler: dict[str, Any]
    tensors: dict[str, Tensor]


def save_state(
    path: Path,
    counters: Counters,
    run: dict[str, Any],
    scaler: dict[str, Any],
    system: System,
    optimizer: Optimizer,
) -> None:
    """Write the state, whole or not at all. Raises `DataError` naming the file when it cannot be written."""
    from safetensors.torch import save

    tensors = {MODEL + name: tensor for name, tensor in model_tensors(system).items()}
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            tensors[f"{OPTIMIZER}{number}.{name}"] = value.detach().cpu().contiguous()
    header = {"format": FORMAT, "version": VERSION, "counters": asdict(counters), "run": run, "scaler": scaler}
    with replacing(path) as temporary:
        write_durably(temporary, save(tensors, metadata={"nephi": json.dumps(header, sort_keys=True)}))


def read_state(path: Path) -> SavedState:
    """Read a state. Raises `DataError` in one line when it is missing, damaged, or of another version."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as handle:
            header = json.loads((handle.metadata() or {}).get("nephi", "null"))
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a training's state, or cut short ({error}); start anew") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise DataError(f"{path}: expected the state of a training, found another safetensors file")
    if header.get("version") != VERSION:
        raise DataError(
            f"{path}: state of version {header.get('version')}, this nephi reads version {VERSION}; update nephi"
        )
    try:
        counters = Counters(**header["counters"])
        return SavedState(counters, dict(header["run"]), dict(header["scaler"]), tensors)
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged state: {type(error).__name__} {error}") from None


def restore(saved: SavedState, system: System, optimizer: Optimizer) -> None:
    """Give weights and moments back. Raises `DataError` when they are of another network."""
    weights = {name.removeprefix(MODEL): t for name, t in saved.tensors.items() if name.startswith(MODEL)}
    expected = {name: tensor.shape for name, tensor in model_tensors(system).items()}
    if {name: tensor.shape for name, tensor in weights.items()} != expected:
        raise DataError("state.safetensors: its tensors do not fit the settings; start anew")
    system.load_state_dict(weights, strict=False)  # without what is predicted; the rest was compared
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in saved.tensors.items():
        if name.startswith(OPTIMIZER):
            number, key = name.removeprefix(OPTIMIZER).split(".")
            moments.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
