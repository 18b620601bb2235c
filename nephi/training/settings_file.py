"""Training settings from and to TOML, and where two of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nephi.documents import is_unicode
from nephi.errors import UsageError
from nephi.models import StoredModel
from nephi.settings import merged_tables, plain_table, require_current_names, toml_table
from nephi.tables import from_table
from nephi.training.settings import TrainSettings

# What may be another when a run is resumed: it changes where and how fast, not what is computed.
FREE = {"data": ("index",), "train": ("threads", "workers", "cache")}


RENAMED = {
    "objective.contrast": "objective.variance_floor",
    "objective.regular_points": "objective.background_points",
}
"""Earlier names of a training's settings, dotted, and those that replace them."""


def read_train_settings(path: str | Path, model: StoredModel | None = None) -> TrainSettings:
    """Read the settings of a training from a TOML file; what it does not name keeps its default.

    With a `model` to go on from, its frame, architecture and objective stand in for the defaults. The path of the index
    is relative to the file. Raises `UsageError` naming the file for a missing or malformed one, an unknown key, a value
    of the wrong type.
    """
    table = toml_table(path)
    require_current_names(table, RENAMED, str(path))
    if model is not None:
        own = asdict(model.settings) | {"pairs": 0}  # an auto-decoder's are those of its data set
        known = {"frame": asdict(model.frame), "model": own, "objective": asdict(model.objective)}
        table = merged_tables(plain_table(known), table)
    try:
        settings = from_table(TrainSettings, table)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    if not settings.data.index:
        raise UsageError(f"{path}: data.index: expected the path of a data set's index, found nothing")
    if "\0" in settings.data.index:
        raise UsageError(f"{path}: data.index: expected a path, found one with a null character")
    index = (Path(path).parent / settings.data.index).resolve()
    if not is_unicode(str(index)):
        raise UsageError(f"{path}: data.index: expected a path in UTF-8, which config.toml can hold; rename its folder")
    return replace(settings, data=replace(settings.data, index=str(index)))


def train_settings_toml(settings: TrainSettings) -> str:
    """Return the settings as TOML text that `read_train_settings` reads back."""
    import tomli_w

    return tomli_w.dumps(plain_table(asdict(settings)))


def lasting_table(settings: TrainSettings) -> dict[str, Any]:
    """Return, as plain tables, the settings that a result depends on."""
    tables: dict[str, Any] = plain_table(asdict(settings))
    return {
        table: {name: value for name, value in values.items() if name not in FREE.get(table, ())}
        for table, values in tables.items()
    }


def difference(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "") -> str | None:
    """Return the name of the first setting in which two tables differ, dotted; None where they agree."""
    for name in [*one, *(name for name in other if name not in one)]:
        a, b = one.get(name), other.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            if (found := difference(a, b, f"{path}{name}.")) is not None:
                return found
        elif a != b or (name in one) != (name in other):
            return f"{path}{name}"
    return None


def value_at(table: Mapping[str, Any], name: str) -> Any:
    """Return the value of a dotted name; None where there is none."""
    found: Any = table
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
