"""Model files: the weights of a model, and the settings that its input, architecture and training need."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nephi.argument_types import checked
from nephi.errors import DataError
from nephi.fields import UNFIT, TensorFile
from nephi.io import replacing, write_durably
from nephi.models.base import ModelSettings, RegistrationModel
from nephi.models.input_settings import InputSettings, input_grid
from nephi.models.older_files import current_header, current_tensors
from nephi.models.registry import build_model, model_class, model_settings, model_table
from nephi.settings import TrainingObjectiveSettings
from nephi.tables import from_table

FILE = TensorFile("nephi-model", (1, 2), "model", "nephi train or nephi import-model")
OTHER = "it may be of another version of nephi, whose model has to be trained again"


@dataclass(frozen=True, eq=False)
class StoredModel:
    """Content of a model file: a trained `model`, the settings of its `input`, and the `objective` of its training.

    `about` holds versions, seed and other records of the training, as plain values.
    """

    model: RegistrationModel[Any]
    input: InputSettings
    objective: TrainingObjectiveSettings
    about: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return kind and number of parameters in one line."""
        count = sum(parameter.numel() for parameter in self.model.parameters())
        return f"StoredModel({type(self.model).__name__}, {self.input.dimension}-D, {count} parameters)"

    @property
    def settings(self) -> ModelSettings:
        """The architecture of the model."""
        settings: ModelSettings = self.model.settings
        return settings


def model_bytes(stored: StoredModel) -> bytes:
    """Return the content of a model file; equal models give equal bytes."""
    header = {
        "model": model_table(stored.settings),
        "input": asdict(stored.input),
        "objective": asdict(stored.objective),
        "about": stored.about,
    }
    return FILE.to_bytes(header, model_tensors(stored.model))


@checked
def write_model(stored: StoredModel, path: str | Path) -> None:
    """Write a model file, whole or not at all. Raises `DataError` naming the file when it cannot be written."""
    with replacing(path) as temporary:
        write_durably(temporary, model_bytes(stored))


@checked
@torch.inference_mode(False)
def read_model(path: str | Path) -> StoredModel:
    """Read a model file; the model is on the CPU, in evaluation mode.

    Raises `DataError` when the file is missing, cut short, not a model, of an unknown version or kind, or
    when its tensors do not fit its settings.
    """
    header, tensors = FILE.read(Path(path))
    FILE.require_finite(Path(path), tensors)
    try:
        if header["version"] == 1:
            header = current_header(header)
        settings = model_settings(header["model"])
        input_settings = from_table(InputSettings, header["input"], "input.")
        objective = from_table(TrainingObjectiveSettings, header["objective"], "objective.")
        about = dict(header["about"])
        model = _model(settings, input_settings, current_tensors(tensors, input_settings.shape))
    except UNFIT as error:
        raise FILE.damaged(path, error) from None
    return StoredModel(model, input_settings, objective, about)


def model_tensors(model: RegistrationModel[Any]) -> dict[str, Tensor]:
    """Return the stored values of a model by name, on the CPU: its state without what it predicts for each pair."""
    predicted = model.predicted_parameters()
    return {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items() if name not in predicted}


def load_tensors(model: RegistrationModel[Any], tensors: dict[str, Tensor]) -> None:
    """Load the values that `model_tensors` returns into a model of the same settings.

    Raises `DataError` naming the first tensor that is missing, unknown, or of another shape or type.
    """
    expected = {name: (t.shape, t.dtype) for name, t in model_tensors(model).items()}
    stored = {name: (t.shape, t.dtype) for name, t in tensors.items()}
    differing = sorted(name for name in stored.keys() | expected.keys() if stored.get(name) != expected.get(name))
    if differing:
        raise DataError(
            f"its tensors do not fit its settings, {len(differing)} of them, the first is {differing[0]}; {OTHER}"
        )
    model.load_state_dict(tensors, strict=False)  # predicted tensors are not stored; the others were compared


def _model(
    settings: ModelSettings, input_settings: InputSettings, tensors: dict[str, Tensor]
) -> RegistrationModel[Any]:
    grid = input_grid(input_settings)
    parameters = sum(tensor.numel() for tensor in tensors.values())
    if model_class(settings).size(settings, grid).parameters > parameters:  # before anything of that size is allocated
        raise DataError(f"its tensors are smaller than its settings require; {OTHER}")
    model = build_model(settings, grid, torch.Generator().manual_seed(0), input_settings.outside)
    load_tensors(model, tensors)
    return model.eval()
