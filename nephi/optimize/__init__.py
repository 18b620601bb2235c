"""One pair of images: global alignment, the coarse-to-fine fit of the fields, presets, results on disk."""

from nephi.optimize.device import device_summary
from nephi.optimize.export import OUTPUTS, PAGE, check_output_folder, require_exportable
from nephi.optimize.pair import found_mask, intensity_window
from nephi.optimize.planning import Plan, PlannedLevel, PlannedSide, plan
from nephi.optimize.progress import Progress
from nephi.optimize.registration import Registration, register, versions
from nephi.optimize.settings import Settings
from nephi.optimize.settings_changes import with_similarity
from nephi.optimize.settings_file import preset, preset_names, read_settings, settings_from_table, settings_toml

__all__ = [
    "OUTPUTS",
    "PAGE",
    "Plan",
    "PlannedLevel",
    "PlannedSide",
    "Progress",
    "Registration",
    "Settings",
    "check_output_folder",
    "device_summary",
    "found_mask",
    "intensity_window",
    "plan",
    "preset",
    "preset_names",
    "read_settings",
    "register",
    "require_exportable",
    "settings_from_table",
    "settings_toml",
    "versions",
    "with_similarity",
]
