"""Registration of one pair: affine alignment, then a coarse-to-fine fit of neural fields."""

from nephi.optimize.affine import fit_affine
from nephi.optimize.fit import fit_fields, threads_of_fit
from nephi.optimize.initial_alignment import initial_alignment, require_overlap
from nephi.optimize.planning import Plan, estimate_memory_mb, plan, plan_guidance, plan_images, plan_level
from nephi.optimize.registration import register
from nephi.optimize.rotation_search import search_rotation
from nephi.optimize.start_search import Start, search_start
from nephi.runtime import Progress, ProgressCallback, ignore_progress

__all__ = [
    "Plan",
    "Progress",
    "ProgressCallback",
    "Start",
    "estimate_memory_mb",
    "fit_affine",
    "fit_fields",
    "ignore_progress",
    "initial_alignment",
    "plan",
    "plan_guidance",
    "plan_images",
    "plan_level",
    "register",
    "require_overlap",
    "search_rotation",
    "search_start",
    "threads_of_fit",
]
