"""The two images of a registration: read and validated, with masks and intensity windows."""

from nephi.preparation.field_of_view import choose_initial, limit_to_overlap
from nephi.preparation.intensities import Window, intensity_window, ranked_window
from nephi.preparation.mask_placement import require_mask_inside
from nephi.preparation.masks import find_mask
from nephi.preparation.pair import Pair, Source, as_image, pair_warnings, prepare_pair

__all__ = [
    "Pair",
    "Source",
    "Window",
    "as_image",
    "choose_initial",
    "find_mask",
    "intensity_window",
    "limit_to_overlap",
    "pair_warnings",
    "prepare_pair",
    "ranked_window",
    "require_mask_inside",
]
