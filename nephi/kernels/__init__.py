"""Compiled CPU kernels of the functions in which a fit spends its time.

Each kernel has a torch twin that computes the same on any device and in any precision. The twin is used where the
kernels were not built (no compiler at installation) or do not support the data. Importing this room builds nothing.
"""

from nephi.kernels.adam import adam_step, can_step
from nephi.kernels.field import FieldArrays, field_gradient, field_inverse, field_values
from nephi.kernels.interpolation import (
    PatchFrame,
    can_interpolate,
    interpolate,
    interpolate_patches,
    patches_gradient,
)
from nephi.kernels.library import available, built_for, kernel_threads, threads
from nephi.kernels.objective import ChannelPatches, PairObjective
from nephi.kernels.regularity import PENALTIES, round_trip
from nephi.kernels.similarity import MEASURES, MOST_SAMPLES, can_compare, compare
from nephi.kernels.volume import can_read_through
from nephi.kernels.whole_volume import foreground_profiles, smooth

__all__ = [
    "MEASURES",
    "MOST_SAMPLES",
    "PENALTIES",
    "ChannelPatches",
    "FieldArrays",
    "PairObjective",
    "PatchFrame",
    "adam_step",
    "available",
    "built_for",
    "can_compare",
    "can_interpolate",
    "can_read_through",
    "can_step",
    "compare",
    "field_gradient",
    "field_inverse",
    "field_values",
    "foreground_profiles",
    "interpolate",
    "interpolate_patches",
    "kernel_threads",
    "patches_gradient",
    "round_trip",
    "smooth",
    "threads",
]
