"""The two images of a registration: read and validated, with masks and intensity windows, and what guides it."""

from nephi.preparation.field_of_view import choose_initial, limit_to_overlap
from nephi.preparation.guidance import Guidance, read_guidance
from nephi.preparation.intensities import Window, intensity_window, ranked_window
from nephi.preparation.mask_placement import require_mask_inside
from nephi.preparation.masks import find_mask
from nephi.preparation.pair import Channel, Pair, is_found, pair_warnings, prepare_pair

__all__ = [
    "Channel",
    "Guidance",
    "Pair",
    "Window",
    "choose_initial",
    "find_mask",
    "intensity_window",
    "is_found",
    "limit_to_overlap",
    "pair_warnings",
    "prepare_pair",
    "ranked_window",
    "read_guidance",
    "require_mask_inside",
]
