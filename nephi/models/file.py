"""Model files: a network's weights, and all that is needed to show it an image."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nephi.errors import DataError
from nephi.fields import UNFIT, FieldPair, TensorFile, latent_grids
from nephi.io import replacing, write_durably
from nephi.models.input import InputSettings, input_grid
from nephi.models.model import ModelSettings, System, build_system
from nephi.settings import TrainingObjectiveSettings
from nephi.tables import from_table

FILE = TensorFile("nephi-model", (1,), "model", "nephi train")


@dataclass(frozen=True, eq=False)
class StoredModel:
    """What a model file holds: a trained `system`, what it is made of, what it sees, what it was trained for.

    `about` has versions, seed and whatever else tells how it came to be, as plain values.
    """

    settings: ModelSettings
    frame: InputSettings
    objective: TrainingObjectiveSettings
    system: System
    about: dict[str, Any] = field(default_factory=dict)


def model_bytes(stored: StoredModel) -> bytes:
    """Return the content of a model file; equal models give equal bytes."""
    header = {
        "model": asdict(stored.settings),
        "frame": asdict(stored.frame),
        "objective": asdict(stored.objective),
        "about": stored.about,
    }
    return FILE.to_bytes(header, model_tensors(stored.system))


def write_model(stored: StoredModel, path: str | Path) -> None:
    """Write a model file, whole or not at all. Raises `DataError` naming the file when it cannot be written."""
    with replacing(path) as temporary:
        write_durably(temporary, model_bytes(stored))


@torch.inference_mode(False)
def read_model(path: str | Path) -> StoredModel:
    """Read a model file; the system is on the CPU, ready to predict.

    Raises `DataError` in one line when the file is missing, cut short, not a model, of another version, or when its
    tensors do not fit its settings.
    """
    header, tensors = FILE.read(Path(path))
    FILE.require_finite(Path(path), tensors)
    try:
        settings = from_table(ModelSettings, header["model"], "model.")
        frame = from_table(InputSettings, header["frame"], "frame.")
        objective = from_table(TrainingObjectiveSettings, header["objective"], "objective.")
        about = dict(header["about"])
        system = _system(settings, frame, tensors)
    except UNFIT as error:
        raise FILE.damaged(path, error) from None
    return StoredModel(settings, frame, objective, system, about)


def model_tensors(system: System) -> dict[str, Tensor]:
    """Return what is trained of a system, by name, on the CPU: latent values of its fields are predicted instead."""
    predicted = _predicted(system)
    return {name: t.detach().cpu().contiguous() for name, t in system.state_dict().items() if name not in predicted}


def _predicted(system: System) -> set[str]:
    """Return the names, in the system's state, of what an encoder says anew for each pair."""
    latent = set()
    for module in system.modules():
        if isinstance(module, FieldPair):
            latent |= {id(grids.table) for grids in latent_grids(module)}
            latent |= {id(module.codes.global_code)} if module.codes is not None else set()
    # Twice: the fields share their codes, and each lists them.
    return {name for name, each in system.named_parameters(remove_duplicate=False) if id(each) in latent}


def _system(settings: ModelSettings, frame: InputSettings, tensors: dict[str, Tensor]) -> System:
    if _least_size(settings, frame.dimension) > sum(t.numel() for t in tensors.values()):
        raise DataError("its tensors are smaller than its settings say")  # before anything of that size is allocated
    system = build_system(settings, input_grid(frame), torch.Generator().manual_seed(0))
    expected = {name: (t.shape, t.dtype) for name, t in model_tensors(system).items()}
    found = {name: (t.shape, t.dtype) for name, t in tensors.items()}
    odd = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if odd:
        raise DataError(f"its tensors do not fit its settings, {len(odd)} of them, the first is {odd[0]}")
    system.load_state_dict(tensors, strict=False)  # without what is predicted; the rest was compared
    return system.eval()


def _least_size(settings: ModelSettings, dimension: int) -> int:
    """Return a count that the weights of a system of these settings surely exceed."""
    field, encoder = settings.field, settings.encoder
    fields = 0 if settings.system == "unet" else field.hidden**2 * (field.layers - 1)
    if settings.system == "auto-decoder":
        return fields + settings.pairs * field.global_codes
    filters = encoder.filters if settings.system == "nephi" else settings.unet.filters
    size = fields + sum(3**dimension * before * after for before, after in pairwise(filters))
    if settings.system == "nephi" and field.global_codes:
        size += filters[-1] * encoder.pooled**dimension * encoder.features
    return size
