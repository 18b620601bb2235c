"""Training settings from and to TOML, and comparisons of two of them."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nephi.argument_types import checked
from nephi.documents import is_unicode
from nephi.errors import UsageError
from nephi.models import MODELS, InputSettings, ModelSettings, StoredModel, model_settings, model_table
from nephi.models.registry import DEFAULT_KIND
from nephi.settings import PresetFiles, merged_tables, plain_table, require_current_names, toml_table
from nephi.tables import convert, short_repr
from nephi.training.settings import DataSettings, TrainSettings

PRESETS = PresetFiles("nephi.training")
OF_A_MODEL = ("model", "objective", "phases")  # tables of a preset that suit its own kind of model only
FLAT = "2-D"  # table of a preset with the tables whose values differ for 2-D images
# Settings that may differ when a run is resumed: they change where and how fast it is computed, not what.
FREE = {"data": ("index",), "optimization": ("threads", "workers", "cache")}
RENAMED = {
    "frame": "input",
    "augment": "augmentation",
    "train": "optimization",
    "model.system": "model.kind",
    "model.thinning": "model.downsampling",
    "objective.contrast": "objective.variance_floor",
    "objective.regular_points": "objective.background_points",
}
"""Earlier names of tables and keys, dotted, and those that replace them."""


def training_presets() -> dict[str, str]:
    """Return the titles of the presets of trainings, by their names."""
    return {name: PRESETS.title(name) for name in PRESETS.names()}


@checked
def read_train_settings(
    path: str | Path | None = None,
    model: StoredModel | None = None,
    *,
    preset: str | None = None,
    data: str | Path | None = None,
) -> TrainSettings:
    """Read the settings of a training from a TOML file, from a preset, or from a file whose keys override a preset.

    The name of the preset is `preset`, or that in a line `preset = "NAME"` of the file, which comes first. Settings
    that are in neither keep their defaults; those of `[objective]` are the defaults of the chosen model. With a `model`
    to fine-tune, its input, architecture and objective replace the defaults. `data` is the path of the data set's
    index; without it that of the file is used, relative to the file.

    Raises `UsageError` naming the file for a missing or malformed one, an unknown key, an earlier name of a key, a
    value of the wrong type; for an unknown preset, and without any path of an index.
    """
    if preset is not None:
        PRESETS.table(preset)  # raises for an unknown name, which no file has given
    table = {} if path is None else toml_table(path)
    source = str(path) if path is not None else "settings" if preset is None else f"preset {preset}"
    require_current_names(table, RENAMED, source)
    try:
        table = tables_over_preset({"preset": preset, **table} if preset is not None else table, model)
        if data is not None:
            table["data"] = {"index": str(Path(data).absolute())}
        settings = train_settings(table, model)
        return replace(settings, data=located_index(settings.data, Path(path or ".")))
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None


def located_index(data: DataSettings, path: Path) -> DataSettings:
    """Return the settings with the index as an absolute path; that in the settings file `path` is relative to it.

    Raises `UsageError` for a missing path, and for one that no TOML file can hold.
    """
    if not data.index:
        raise UsageError("data.index: expected the path of a data set's index, got none")
    if "\0" in data.index:
        raise UsageError("data.index: expected a path, got one with a null character")
    index = (path.parent / data.index).resolve()
    if not is_unicode(str(index)):
        raise UsageError("data.index: expected a path in UTF-8, which config.toml can hold; rename its folder")
    return replace(data, index=str(index))


def tables_over_preset(table: Mapping[str, Any], model: StoredModel | None = None) -> dict[str, Any]:
    """Return the tables of the preset that `table` names as its `preset`, if it does, with its own values in them.

    The preset's values for 2-D images count if the input has two axes: that of `table`, else that of a `model` to
    fine-tune. Tables that suit one kind of model are kept only for that kind. Raises `UsageError` for an unknown name.
    """
    own = {name: values for name, values in table.items() if name != "preset"}
    preset = PRESETS.table(table["preset"]) if "preset" in table else {}
    flat = preset.pop(FLAT, {})
    if _dimension(own, model) == 2:
        preset = merged_tables(preset, flat)
    architecture = own.get("model", {})
    kind = preset.get("model", {}).get("kind", DEFAULT_KIND)
    if isinstance(architecture, Mapping) and architecture.get("kind", kind) != kind:
        preset = {name: values for name, values in preset.items() if name not in OF_A_MODEL}
    return merged_tables(preset, own)


def train_settings(table: Mapping[str, Any], model: StoredModel | None = None) -> TrainSettings:
    """Return the settings in the tables of a TOML file; arguments and errors as `read_train_settings`."""
    if model is not None:
        table = merged_tables(_tables_of(model, table.get("model", {})), table)
    hints = typing.get_type_hints(TrainSettings)
    unknown = sorted(table.keys() - hints.keys())
    if unknown:
        raise UsageError(f"{unknown[0][:80]}: unknown table; expected one of {', '.join(hints)}")
    architecture = model_settings(table.get("model", {}))
    defaults = plain_table(asdict(MODELS[architecture.kind].default_objective))
    objective = table.get("objective", {})
    tables = {**table, "objective": {**defaults, **objective} if isinstance(objective, Mapping) else objective}
    parts = {name: convert(hints[name], tables[name], name) for name in hints if name in tables and name != "model"}
    return TrainSettings(model=architecture, **parts)


def train_settings_toml(settings: TrainSettings) -> str:
    """Return the settings as TOML text that `read_train_settings` reads."""
    import tomli_w

    return tomli_w.dumps(train_settings_table(settings))


def train_settings_table(settings: TrainSettings) -> dict[str, Any]:
    """Return the settings as the plain tables that `train_settings` reads."""
    return {**plain_table(asdict(settings)), "model": model_table(settings.model)}


def result_settings(settings: TrainSettings) -> dict[str, Any]:
    """Return, as plain tables, the settings that a result depends on."""
    tables = train_settings_table(settings)
    kept = {
        table: {name: value for name, value in tables[table].items() if name not in free}
        for table, free in FREE.items()
    }
    return {**tables, **kept}


def difference(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "") -> str | None:
    """Return the dotted name of the first setting in which two tables differ; None where they agree."""
    for name in [*one, *(name for name in other if name not in one)]:
        a, b = one.get(name), other.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            if (nested := difference(a, b, f"{path}{name}.")) is not None:
                return nested
        elif a != b or (name in one) != (name in other):
            return f"{path}{name}"
    return None


def value_at(table: Mapping[str, Any], name: str) -> Any:
    """Return the value at a dotted name; None without one."""
    value: Any = table
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _dimension(table: Mapping[str, Any], model: StoredModel | None) -> int:
    """Return the number of axes of the input that a table describes, if it does, else of that of `model`."""
    inputs = table.get("input", {})
    shape = inputs.get("shape") if isinstance(inputs, Mapping) else None
    default = InputSettings() if model is None else model.input
    return len(shape) if isinstance(shape, list | tuple) else default.dimension


def _tables_of(model: StoredModel, table: Any) -> dict[str, Any]:
    """Return the tables of a model to fine-tune. Raises `UsageError` if `table` chooses another kind of model."""
    settings: ModelSettings = model.settings.with_pairs(0)  # the pairs are those of the new data set
    kind = table.get("kind", settings.kind) if isinstance(table, Mapping) else settings.kind
    if kind != settings.kind:
        raise UsageError(
            f'model.kind: the model has "{settings.kind}", the configuration {short_repr(kind)}; leave it out, and a '
            "preset of another kind, or train a new model"
        )
    tables = {"input": asdict(model.input), "model": model_table(settings), "objective": asdict(model.objective)}
    return plain_table(tables)
