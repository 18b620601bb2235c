"""The settings of a registration: frozen dataclasses, TOML, presets."""

from nephi.settings.changes import (
    accepts_any_contrast,
    bounded_detail,
    for_channel,
    in_millimetres,
    with_similarity,
    with_training_similarity,
)
from nephi.settings.guidance import GuidanceSettings
from nephi.settings.objective import (
    INVERSE_WEIGHTS,
    PENALTIES,
    REGULARIZATION_WEIGHTS,
    FitObjectiveSettings,
    ObjectiveSettings,
    TrainingObjectiveSettings,
    check_weights,
)
from nephi.settings.options import Options, with_channel_values, with_options
from nephi.settings.preset_files import PresetFiles
from nephi.settings.registration import (
    INITIALS,
    MIRRORED,
    SEARCHED,
    AffineSettings,
    ChannelSettings,
    FitOptimizationSettings,
    ImageSettings,
    LevelSettings,
    Settings,
)
from nephi.settings.renamed import require_current_names
from nephi.settings.toml import (
    chosen_settings,
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
    "INVERSE_WEIGHTS",
    "MIRRORED",
    "PENALTIES",
    "REGULARIZATION_WEIGHTS",
    "SEARCHED",
    "AffineSettings",
    "ChannelSettings",
    "FitObjectiveSettings",
    "FitOptimizationSettings",
    "GuidanceSettings",
    "ImageSettings",
    "LevelSettings",
    "ObjectiveSettings",
    "Options",
    "PresetFiles",
    "Settings",
    "TrainingObjectiveSettings",
    "accepts_any_contrast",
    "bounded_detail",
    "check_weights",
    "chosen_settings",
    "for_channel",
    "in_millimetres",
    "merged_tables",
    "plain_table",
    "preset",
    "preset_names",
    "read_settings",
    "require_current_names",
    "settings_from_table",
    "settings_table",
    "settings_toml",
    "toml_table",
    "with_channel_values",
    "with_options",
    "with_similarity",
    "with_training_similarity",
]
