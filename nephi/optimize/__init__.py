"""One pair of images: global alignment, the coarse-to-fine fit of the fields, presets, results on disk."""

from nephi.optimize.device import choose_device, cpu_threads, device_summary
from nephi.optimize.export import OUTPUTS, PAGE, check_output_folder, require_exportable
from nephi.optimize.fit import fit_fields
from nephi.optimize.intensities import intensity_window
from nephi.optimize.mask_placement import require_mask_inside
from nephi.optimize.masks import found_mask
from nephi.optimize.pair import Pair
from nephi.optimize.planning import (
    Plan,
    PlannedLevel,
    PlannedSide,
    made_of,
    plan,
    planned_level,
    planned_memory_mb,
    planned_sides,
)
from nephi.optimize.preparation import Source, as_image, prepare
from nephi.optimize.progress import Progress, ProgressCallback, silent
from nephi.optimize.registration import Registration, register, versions, warnings_about
from nephi.optimize.result_checks import check_folding
from nephi.optimize.settings import LevelSettings, Settings
from nephi.optimize.settings_changes import with_similarity
from nephi.optimize.settings_file import (
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
from nephi.optimize.usage import Usage, peak_gpu_memory_mb

__all__ = [
    "OUTPUTS",
    "PAGE",
    "LevelSettings",
    "Pair",
    "Plan",
    "PlannedLevel",
    "PlannedSide",
    "Progress",
    "ProgressCallback",
    "Registration",
    "Settings",
    "Source",
    "Usage",
    "as_image",
    "check_folding",
    "check_output_folder",
    "choose_device",
    "cpu_threads",
    "device_summary",
    "fit_fields",
    "found_mask",
    "intensity_window",
    "made_of",
    "merged_tables",
    "peak_gpu_memory_mb",
    "plain_table",
    "plan",
    "planned_level",
    "planned_memory_mb",
    "planned_sides",
    "prepare",
    "preset",
    "preset_names",
    "read_settings",
    "register",
    "require_exportable",
    "require_mask_inside",
    "settings_from_table",
    "settings_table",
    "settings_toml",
    "silent",
    "toml_table",
    "versions",
    "warnings_about",
    "with_similarity",
]
