"""Settings from and to plain tables and TOML."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nephi.argument_types import checked
from nephi.documents import read_toml
from nephi.errors import DataError, UsageError
from nephi.settings.preset_files import PresetFiles
from nephi.settings.registration import Settings
from nephi.settings.renamed import require_current_fit_names, with_current_names
from nephi.tables import from_table

PRESETS = PresetFiles("nephi.settings")
OPTIONAL = ("guidance", "channels", "detail_unit")


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets of nephi."""
    return PRESETS.names()


@checked
def preset(name: str) -> Settings:
    """Return the settings of a preset; raise `UsageError`, listing the known names, for an unknown one."""
    return settings_from_table(PRESETS.table(name), f"preset {name}")


@checked
def read_settings(path: str | Path, base: str | Settings) -> Settings:
    """Read settings from a TOML file; keys that it does not contain come from `base`, settings or the name of a preset.

    A line `preset = "NAME"` in the file replaces `base`. Tables are merged key by key, `levels` is replaced as a whole.
    Raises `UsageError` naming the file for a missing or malformed file, an unknown key, a value of the wrong type.
    """
    table = toml_table(path)
    require_current_fit_names(table, str(path))
    base = table.pop("preset", base)
    base_table = settings_table(base) if isinstance(base, Settings) else PRESETS.table(base)
    return settings_from_table(merged_tables(base_table, table), str(path))


def chosen_settings(settings: Settings | str | Path | None, preset_name: str) -> Settings:
    """Return `settings`, those of a TOML file over the preset, or those of the preset alone."""
    if isinstance(settings, Settings):
        return settings
    return preset(preset_name) if settings is None else read_settings(settings, preset_name)


def toml_table(path: str | Path) -> dict[str, Any]:
    """Return the content of a TOML file; raise `UsageError` naming it when it is missing, malformed or too large."""
    try:
        return read_toml(Path(path), "settings in TOML")
    except DataError as error:
        raise UsageError(str(error)) from None


def settings_from_table(table: Mapping[str, Any], source: str) -> Settings:
    """Build settings from plain tables, those stored with earlier names of settings included.

    Raises `UsageError` naming `source` for unknown keys and values of the wrong type.
    """
    try:
        return from_table(Settings, with_current_names(table))
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None


def settings_table(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain tables for TOML and JSON.

    What few registrations have (`OPTIONAL`) is left out where it has the defaults.
    """
    table, defaults = dataclasses.asdict(settings), dataclasses.asdict(Settings())
    unused = [name for name in OPTIONAL if table[name] == defaults[name]]
    return plain_table({name: value for name, value in table.items() if name not in unused})


def settings_toml(settings: Settings) -> str:
    """Return the settings as TOML text, which `read_settings` reads."""
    import tomli_w

    return tomli_w.dumps(settings_table(settings))


def merged_tables(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over` in it, table by table, key by key."""
    result = dict(base)
    for key, value in over.items():
        are_tables = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = merged_tables(base[key], value) if are_tables else value
    return result


def plain_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested tables with their tuples as lists, for TOML and JSON."""
    return {key: _plain(value) for key, value in table.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return plain_table(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
