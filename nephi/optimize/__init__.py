"""One pair of images: global alignment and the coarse-to-fine fit of the fields."""

from nephi.optimize.affine import fit_affine, initial_alignment, require_overlap
from nephi.optimize.fit import fit_fields
from nephi.optimize.planning import Plan, made_of, plan, planned_level, planned_memory_mb, planned_sides
from nephi.optimize.progress import Progress, ProgressCallback, silent
from nephi.optimize.registration import register
from nephi.optimize.search import search_rotation

__all__ = [
    "Plan",
    "Progress",
    "ProgressCallback",
    "fit_affine",
    "fit_fields",
    "initial_alignment",
    "made_of",
    "plan",
    "planned_level",
    "planned_memory_mb",
    "planned_sides",
    "register",
    "require_overlap",
    "search_rotation",
    "silent",
]
