"""Weight files of PyTorch, read as numbers: nothing in a file is executed."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nephi.errors import DataError

# Wrappers whose names precede those of the network: data-parallel training, the loss, the registration model.
PREFIXES = ("module.", "regis_net.", "backbone.")
STATE = "state_dict"
ARGUMENTS = "args"
# Left in the files by layers and by early versions; they say nothing about the network.
RECORDS = ("num_batches_tracked", "identity_map")
UNSUPPORTED = re.compile(r"(?:Unsupported global: GLOBAL|Unsupported class|unsupported GLOBAL) (\S+)")


class _Ignored:
    """Stands for a path among the arguments of a training."""

    def __init__(self, *parts: Any) -> None:
        pass


SAFE: list[Any] = [
    argparse.Namespace,  # holds attributes, runs nothing
    *[(_Ignored, f"pathlib.{name}") for name in ("Path", "PosixPath", "WindowsPath")],
    *[(_Ignored, f"pathlib._local.{name}") for name in ("Path", "PosixPath", "WindowsPath")],
]


@dataclass(frozen=True, eq=False)
class WeightFile:
    """The tensors of a network by their published names, and the plain `arguments` of its training where stored."""

    path: Path
    tensors: dict[str, Tensor]
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The SHA-256 of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(path: str | Path) -> WeightFile:
    """Read a file that `torch.save` wrote: a state dict, or a checkpoint with one under `state_dict`.

    Prefixes of wrappers that all names share are removed. Only tensors, containers, numbers, texts and the arguments
    of `argparse` are read; a file that needs anything else to be loaded is refused.

    Raises `DataError` naming the file when it is missing, cut short or of another kind, needs code to be read, or holds
    anything but finite real tensors.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise DataError(f"{path}: a folder; expected a file of published weights, as torch.save writes it")
    if not os.path.isfile(path):
        raise DataError(f"{path}: no such file; expected published weights, as torch.save writes them")
    content = _load(path)
    state = content.get(STATE, content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not state:
        raise DataError(f"{path}: expected a state dict of named tensors, found {_describe(state)}")
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise DataError(f"{path}: expected a state dict of named tensors, found {_describe(value)} at {name!r}")
        if not name.endswith(RECORDS):
            tensors[name] = _checked(path, name, value)
    return WeightFile(path, _without_prefixes(tensors), _arguments(content.get(ARGUMENTS)))


def _load(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(SAFE), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other versions of the format; the content is checked below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        if refused := UNSUPPORTED.search(str(error)):
            name = refused[1].rstrip(".,")
            raise DataError(
                f"{path}: expected weights only, found {name}, which would run code when it is loaded; save the "
                "network's state_dict()"
            ) from None
        text = " ".join(str(error).split())
        reason = text.split(". This is an internal")[0][:200] if isinstance(error, RuntimeError) else "damaged"
        raise DataError(f"{path}: not a weight file of torch.save, or cut short ({reason})") from None


def _checked(path: Path, name: str, tensor: Tensor) -> Tensor:
    """Return a tensor as dense float32; raise `DataError` for values that are no finite real numbers in the file."""
    if tensor.layout != torch.strided or not tensor.is_floating_point():
        raise DataError(f"{path}: {name}: expected a tensor of real numbers, found {tensor.dtype}, {tensor.layout}")
    # A few bytes can stand for any number of values: those of the device `meta`, and strides of 0.
    stored = 0 if tensor.is_meta else tensor.untyped_storage().nbytes() // tensor.element_size()
    if tensor.numel() > stored:
        raise DataError(f"{path}: {name}: expected {tensor.numel()} stored values, found {stored}; save the weights")
    tensor = tensor.detach().float()
    if not bool(torch.isfinite(tensor).all()):  # in the precision of the model
        raise DataError(f"{path}: {name} holds NaN or infinite values, or numbers beyond those of float32")
    return tensor


def _arguments(stored: Any) -> dict[str, Any]:
    """Return the arguments of a training; none where something else has their name."""
    if isinstance(stored, argparse.Namespace):
        return vars(stored)
    return dict(stored) if isinstance(stored, Mapping) else {}


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in (prefix for _ in PREFIXES for prefix in PREFIXES):  # in any order
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _describe(value: Any) -> str:
    return "an empty one" if isinstance(value, Mapping) and not value else type(value).__name__
