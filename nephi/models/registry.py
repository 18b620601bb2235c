"""The known models, chosen by the `kind` of their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import torch

from nephi.errors import UsageError
from nephi.geometry import Grid
from nephi.models.auto_decoder import AutoDecoder
from nephi.models.base import ModelSettings, RegistrationModel
from nephi.models.carl import CARL
from nephi.models.constricon import ConstrICON
from nephi.models.displacement_unet import DisplacementUNet
from nephi.models.gradicon import GradICON
from nephi.models.icon import ICON
from nephi.models.keymorph import KeyMorph
from nephi.models.nephi import NephiModel
from nephi.models.published.published_keymorph import PublishedKeyMorph
from nephi.models.published.tall_unet_steps import PublishedTallUNet
from nephi.settings import plain_table
from nephi.tables import from_table, short_repr

MODELS: dict[str, type[RegistrationModel[Any]]] = {
    model.Settings.kind: model
    for model in (
        NephiModel,
        AutoDecoder,
        DisplacementUNet,
        ICON,
        GradICON,
        ConstrICON,
        CARL,
        KeyMorph,
        PublishedTallUNet,
        PublishedKeyMorph,
    )
}
"""The models by the value of `model.kind`; a new model is added here."""
LARGEST_SIZE = 2**32  # parameters: 16 GiB, four times as much in a training
DEFAULT_KIND = NephiModel.Settings.kind


def model_class(settings: ModelSettings) -> type[RegistrationModel[Any]]:
    """Return the model whose settings these are."""
    return MODELS[settings.kind]


def build_model(
    settings: ModelSettings, grid: Grid, generator: torch.Generator, outside: float = 0.0
) -> RegistrationModel[Any]:
    """Return an untrained model for images on `grid`, which are `outside` beyond it, see `RegistrationModel`.

    Raises `UsageError` for settings of an auto-decoder without a number of pairs, and of a model that is too large.
    """
    size = model_class(settings).size(settings, grid)
    if size.parameters > LARGEST_SIZE:
        raise UsageError(f"model: expected settings for at most {LARGEST_SIZE} parameters, got {size.parameters:.3g}")
    model = model_class(settings)(settings, grid, generator)
    model.outside = outside
    return model


def model_settings(table: Mapping[str, Any], path: str = "model.") -> ModelSettings:
    """Return the settings in the table `[model]`: those of the model that its `kind` names, `nephi` without one.

    Keys that are left out keep the model's defaults. Raises `UsageError`, with `path` before the key, for an unknown
    kind, for a key of another model, naming that model, and as `from_table`.
    """
    if not isinstance(table, Mapping):
        return from_table(ModelSettings, table, path)  # raises the usual error
    kind = table.get("kind", DEFAULT_KIND)
    if not isinstance(kind, str) or kind not in MODELS:
        raise UsageError(f"{path}kind: expected one of {', '.join(MODELS)}, got {short_repr(kind)}")
    values = {name: value for name, value in table.items() if name != "kind"}
    _require_own_keys(kind, values, path)
    return from_table(MODELS[kind].Settings, values, path)


def model_table(settings: ModelSettings) -> dict[str, Any]:
    """Return the settings as the plain table that `model_settings` reads."""
    return {"kind": settings.kind, **plain_table(asdict(settings))}


def _require_own_keys(kind: str, values: Mapping[str, Any], path: str) -> None:
    keys_of = {name: {field.name for field in fields(model.Settings)} for name, model in MODELS.items()}
    for key in values:
        others = [name for name, keys in keys_of.items() if key in keys]
        if others and kind not in others:
            known = ", ".join(path + name for name in sorted(keys_of[kind]))
            raise UsageError(f'{path}{key}: a key of kind = "{others[0]}", got kind = "{kind}"; known are {known}')
