"""The settings of a registration: frozen dataclasses, TOML, presets."""

from nephi.settings.changes import in_millimetres, with_similarity
from nephi.settings.registration import (
    INITIALS,
    AffineSettings,
    FitSettings,
    ImageSettings,
    LevelSettings,
    RegularitySettings,
    Settings,
)
from nephi.settings.toml import (
    merged_tables,
    plain_table,
    preset,
    preset_names,
    read_settings,
    settings_from_table,
    settings_table,
    settings_toml,
    toml_table,
)

__all__ = [
    "INITIALS",
    "AffineSettings",
    "FitSettings",
    "ImageSettings",
    "LevelSettings",
    "RegularitySettings",
    "Settings",
    "in_millimetres",
    "merged_tables",
    "plain_table",
    "preset",
    "preset_names",
    "read_settings",
    "settings_from_table",
    "settings_table",
    "settings_toml",
    "toml_table",
    "with_similarity",
]
